// Every way a tokenizer.json can be wrong gives one line that names the file, the field and the reason.
#include "tests/support/tiny_tokenizer.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>

using namespace troupe;
namespace json = boost::json;

namespace {

/// The message that parsing gives after `change` was made to a good file.
std::string message_after(const std::function<void(json::object&)>& change) {
  auto file = test::tiny_tokenizer_json();
  change(file);
  const auto parsed = test::parse_tokenizer(file);
  BOOST_REQUIRE(!parsed);
  return parsed.error().message;
}

json::object& model_of(json::object& file) { return file["model"].as_object(); }
json::object& vocab_of(json::object& file) { return model_of(file)["vocab"].as_object(); }
json::object& added_of(json::object& file) { return file["added_tokens"].as_array()[1].as_object(); }
json::object& split_of(json::object& file) {
  return file["pre_tokenizer"].at("pretokenizers").as_array()[0].as_object();
}

std::string message_of(std::string_view text) {
  const auto parsed = model::tokenizer::parse(text, "tokenizer.json");
  BOOST_REQUIRE(!parsed);
  return parsed.error().message;
}

} // namespace

#define TEST_REFUSED(message, statement)                                                                               \
  BOOST_TEST(message_after([](json::object& file) { statement; }) == std::string("tokenizer.json: ") + (message))

BOOST_AUTO_TEST_SUITE(tokenizer_json)

BOOST_AUTO_TEST_CASE(what_is_no_json_object_is_refused) {
  BOOST_TEST(message_of("{").starts_with("tokenizer.json: not JSON: "));
  BOOST_TEST(message_of("\"\xFF\"") == "tokenizer.json: invalid UTF-8 at byte 1");
  BOOST_TEST(message_of(std::string(1000, '[')).starts_with("tokenizer.json: not JSON: "));
  BOOST_TEST(message_of("[]") == "tokenizer.json: must be an object");
}

BOOST_AUTO_TEST_CASE(a_refusal_is_one_line_whatever_it_quotes) {
  TEST_REFUSED("model.type: \"a?b?\" is not supported", model_of(file)["type"] = "a\nb\x1B");
}

BOOST_AUTO_TEST_CASE(stages_that_are_not_implemented_are_refused_by_name) {
  TEST_REFUSED("normalizer.type: \"NFC\" is not supported", (file["normalizer"] = {{"type", "NFC"}}));
  TEST_REFUSED("normalizer.normalizers[0].type: \"Lowercase\" is not supported",
               (file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}}));
  TEST_REFUSED("decoder.type: must be a string", file.erase("decoder"));
  TEST_REFUSED("decoder.type: \"Metaspace\" is not supported", (file["decoder"] = {{"type", "Metaspace"}}));
  TEST_REFUSED("pre_tokenizer.type: must be a string", (file["pre_tokenizer"] = nullptr));
  TEST_REFUSED("pre_tokenizer.pretokenizers[0].type: \"Whitespace\" is not supported",
               split_of(file)["type"] = "Whitespace");
  TEST_REFUSED("model.type: \"Unigram\" is not supported", model_of(file)["type"] = "Unigram");
}

BOOST_AUTO_TEST_CASE(byte_level_must_come_last) {
  TEST_REFUSED("pre_tokenizer: must end with ByteLevel",
               file["pre_tokenizer"].at("pretokenizers").as_array().pop_back());
  TEST_REFUSED("pre_tokenizer.pretokenizers[1]: comes after ByteLevel, which must be the last",
               split_of(file)["type"] = "ByteLevel");
}

BOOST_AUTO_TEST_CASE(a_split_must_be_complete) {
  TEST_REFUSED("pre_tokenizer.pretokenizers[0].behavior: \"Joined\" is not a behavior",
               split_of(file)["behavior"] = "Joined");
  TEST_REFUSED("pre_tokenizer.pretokenizers[0].pattern: must be a Regex or a String", split_of(file).erase("pattern"));
  TEST_REFUSED("pre_tokenizer.pretokenizers[0].pattern.Regex: regular expression: missing closing parenthesis",
               (split_of(file)["pattern"] = {{"Regex", "("}}));
  TEST_REFUSED("pre_tokenizer.pretokenizers[0].invert: must be true or false", split_of(file)["invert"] = "no");
}

BOOST_AUTO_TEST_CASE(options_of_bpe_that_change_ids_are_refused) {
  TEST_REFUSED("model.dropout: must be null", model_of(file)["dropout"] = 0.1);
  TEST_REFUSED("model.end_of_word_suffix: must be empty", model_of(file)["end_of_word_suffix"] = "</w>");
}

BOOST_AUTO_TEST_CASE(ids_must_be_unique_and_bounded) {
  TEST_REFUSED("model.vocab: \"a\" and \"b\" have the same id", vocab_of(file)["b"] = 'a');
  for (const auto& id : {json::value(-1), json::value(1 << 20), json::value(1.5), json::value("1"), json::value(1e300)})
    BOOST_TEST(message_after([&](json::object& file) { vocab_of(file)["b"] = id; }) ==
               "tokenizer.json: model.vocab: the id of \"b\" is not an integer from 0 to 1048575");
}

BOOST_AUTO_TEST_CASE(every_id_needs_a_token) { TEST_REFUSED("no token has the id 264", added_of(file)["id"] = 278); }

BOOST_AUTO_TEST_CASE(every_byte_needs_a_token) {
  TEST_REFUSED("model.vocab: no token for byte 65", vocab_of(file).erase("A"));
  TEST_REFUSED("model.vocab: a token is empty", vocab_of(file)[""] = 299);
}

BOOST_AUTO_TEST_CASE(merges_must_refer_to_tokens) {
  TEST_REFUSED("model.merges[0]: \"hx\" is not in the vocabulary", model_of(file)["merges"].as_array()[0] = "h x");
  TEST_REFUSED("model.merges[0]: must be \"left right\" or [\"left\", \"right\"]",
               model_of(file)["merges"].as_array()[0] = "h e l");
  TEST_REFUSED("model.merges[1]: must be \"left right\" or [\"left\", \"right\"]",
               model_of(file)["merges"].as_array()[1] = json::array({"h"}));
  TEST_REFUSED("model.merges[1][0]: must be a string", model_of(file)["merges"].as_array()[1] = json::array({1, 2}));
  TEST_REFUSED("model.merges: must be an array", model_of(file).erase("merges"));
}

BOOST_AUTO_TEST_CASE(added_tokens_must_not_contradict_the_vocabulary) {
  TEST_REFUSED("added_tokens[1].id: belongs to \"a\" in the vocabulary", added_of(file)["id"] = 'a');
  TEST_REFUSED("added_tokens[1].id: the vocabulary gives \"hello\" the id 260", added_of(file)["content"] = "hello");
  TEST_REFUSED("added_tokens[1].id: is used twice", added_of(file)["id"] = 263);
  TEST_REFUSED("added_tokens[1].content: is listed twice", added_of(file)["content"] = "<｜begin▁of▁sentence｜>");
  TEST_REFUSED("added_tokens[1].content: must have 1 to 1024 bytes", added_of(file)["content"] = "");
  TEST_REFUSED("added_tokens[1].id: must be an integer below the limit of token ids", added_of(file)["id"] = -1);
  TEST_REFUSED("added_tokens[1].lstrip: true is not supported", added_of(file)["lstrip"] = true);
}

BOOST_AUTO_TEST_SUITE_END()
