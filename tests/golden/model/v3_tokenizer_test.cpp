// DeepSeek-V3's own files. The vectors are those of model-spec.md 11.4; v3_vectors.json was checked once more against
// the tokenizers library 0.23.3.
#include "runtime/model/chat_template.hpp"
#include "tests/support/golden_file.hpp"
#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::model;

namespace {

constexpr test::folder_given v3_folder{"TROUPE_V3_TOKENIZER"};

const tokenizer& v3() {
  static const auto loaded = tokenizer::load(v3_folder.path()).value();
  return loaded;
}

} // namespace

BOOST_AUTO_TEST_SUITE(v3_tokenizer, *boost::unit_test::precondition(v3_folder))

BOOST_AUTO_TEST_CASE(golden_vectors_encode_and_decode) {
  const auto vectors = test::golden_json("model/v3_vectors.json");
  for (const auto& vector : vectors.as_array()) {
    const std::string text(vector.at("text").as_string());
    const auto expected = boost::json::value_to<std::vector<token_id>>(vector.at("ids"));
    BOOST_TEST_CONTEXT(text) {
      BOOST_TEST(v3().encode(text, special_tokens::match).value() == expected, boost::test_tools::per_element());
      BOOST_TEST(v3().decode(expected, false) == text);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_vocabulary_is_as_specified) {
  BOOST_TEST(v3().vocab_size() == 128815);
  BOOST_TEST(v3().find("<｜begin▁of▁sentence｜>") == 0);
  BOOST_TEST(v3().find("<｜tool▁sep｜>") == 128814);
  BOOST_TEST(v3().is_special(v3().find("<|EOT|>")));
  BOOST_TEST(!v3().is_special(v3().find("<｜User｜>")));
  BOOST_TEST(v3().find("<think>") == -1);
}

BOOST_AUTO_TEST_CASE(its_template_is_recognised) {
  BOOST_TEST((detect_chat_format(v3_folder.path()).value() == chat_format::v3));
}

BOOST_AUTO_TEST_CASE(a_chat_is_the_tokens_of_its_text) {
  const std::vector<chat_message> messages{{"system", "Be brief. ", {}}, {"user", " 1+1?\n", {}}};
  for (const auto format : {chat_format::v3, chat_format::r1_0528})
    BOOST_TEST(encode_chat(format, v3(), messages).value() ==
                   v3().encode(render_chat(format, messages), special_tokens::match).value(),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(tokens_streamed_one_by_one_give_the_text) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 200; ++round) {
    std::vector<token_id> ids(1 + random() % 50);
    for (auto& id : ids) id = static_cast<token_id>(random() % 129280);

    utf8_stream stream;
    std::string text;
    for (const auto id : ids) text += stream.push(v3().bytes(id));
    text += stream.finish();

    BOOST_TEST(text == v3().decode(ids, false));
  }
}

BOOST_AUTO_TEST_SUITE_END()
