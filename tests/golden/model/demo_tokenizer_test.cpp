// The demo's tokenizer against the tokenizers library: tokenizer/strings.jsonl, made by make_tokenizer.py.
#include "runtime/model/chat_template.hpp"
#include "tests/support/golden_file.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::model;

namespace {

const std::filesystem::path demo_dir = std::filesystem::path(TROUPE_SOURCE_DIR) / "examples/demo_model";

const tokenizer& demo() {
  static const auto loaded = tokenizer::load(demo_dir).value();
  return loaded;
}

} // namespace

BOOST_AUTO_TEST_SUITE(demo_tokenizer)

BOOST_AUTO_TEST_CASE(ten_thousand_strings_encode_as_the_library_does_and_decode_again) {
  std::ifstream golden(test::golden_path("tokenizer/strings.jsonl"), std::ios::binary);
  int strings = 0;
  for (std::string line; std::getline(golden, line); ++strings) {
    const auto item = boost::json::parse(line);
    const std::string text(item.at(0).as_string());
    const auto expected = boost::json::value_to<std::vector<token_id>>(item.at(1));
    BOOST_TEST_CONTEXT(text) {
      BOOST_TEST(demo().encode(text, special_tokens::match).value() == expected, boost::test_tools::per_element());
      BOOST_TEST(demo().decode(expected, false) == text);
    }
  }
  BOOST_TEST(strings == 10'000);
}

BOOST_AUTO_TEST_CASE(its_chat_is_r1s) {
  BOOST_TEST((detect_chat_format(demo_dir).value() == chat_format::r1));
  const std::vector<chat_message> messages{{"user", "What is 4821 + 3979?", {}}};
  BOOST_TEST(encode_chat(chat_format::r1, demo(), messages).value() ==
                 demo().encode(render_chat(chat_format::r1, messages), special_tokens::match).value(),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
