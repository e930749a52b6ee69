#include "runtime/model/utf8.hpp"
#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::model;

namespace {

std::string decode(std::string_view bytes) {
  utf8_stream stream;
  auto text = stream.push(bytes);
  return text + stream.finish();
}

} // namespace

BOOST_AUTO_TEST_SUITE(utf8_stream)

BOOST_AUTO_TEST_CASE(holds_an_emoji_back_until_its_last_byte) {
  troupe::model::utf8_stream stream;

  BOOST_TEST(stream.push("a\xF0\x9F") == "a");
  BOOST_TEST(stream.push("\xA4") == "");
  BOOST_TEST(stream.push("\x96") == "🤖");
  BOOST_TEST(stream.finish() == "");
}

// The maximal-subpart practice of the Unicode Standard, section 3.9, with its example sequences.
BOOST_AUTO_TEST_CASE(replaces_each_maximal_invalid_prefix_once) {
  BOOST_TEST(decode("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  BOOST_TEST(decode("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  BOOST_TEST(decode("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
  BOOST_TEST(decode("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == "\uFFFD\uFFFD\uFFFD\uFFFDA");
}

BOOST_AUTO_TEST_CASE(an_unfinished_code_point_ends_as_one_replacement) {
  BOOST_TEST(decode("x\xF0\x9F\xA4") == "x\uFFFD");
  BOOST_TEST(decode("") == "");
}

BOOST_AUTO_TEST_CASE(any_cut_of_any_bytes_gives_the_same_valid_text) {
  TROUPE_RANDOM(random);
  // Few distinct bytes, so that valid, broken and cut sequences are all frequent.
  const std::string_view alphabet = "a\x80\xBF\xA0\xC3\xE2\x82\xED\xF0\x9F\xF4\xFF";
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 24, '\0');
    for (auto& byte : bytes) byte = alphabet[random() % alphabet.size()];

    troupe::model::utf8_stream stream;
    std::string text;
    for (std::size_t at = 0, size; at < bytes.size(); at += size) {
      size = 1 + random() % 4;
      text += stream.push(std::string_view(bytes).substr(at, size));
    }
    text += stream.finish();

    BOOST_TEST(text == decode(bytes));
    BOOST_TEST(find_invalid_utf8(text) == std::string::npos);
    if (find_invalid_utf8(bytes) == std::string::npos) BOOST_TEST(text == bytes);
  }
}

BOOST_AUTO_TEST_CASE(finds_the_first_invalid_byte) {
  BOOST_TEST(find_invalid_utf8("plain ASCII of some length, then ü") == std::string::npos);
  BOOST_TEST(find_invalid_utf8("sixteen letters.\xFF") == 16u);
  BOOST_TEST(find_invalid_utf8("\xE2\x82") == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
