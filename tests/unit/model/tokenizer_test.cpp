#include "runtime/core/limits.hpp"
#include "runtime/model/tokenizer.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/tiny_tokenizer.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::model;

namespace {

std::vector<token_id> encode(const model::tokenizer& tok, std::string_view text,
                             special_tokens mode = special_tokens::match) {
  return tok.encode(text, mode).value();
}

using ids = std::vector<token_id>;

} // namespace

#define TEST_IDS(found, ...) BOOST_TEST((found) == (ids __VA_ARGS__), boost::test_tools::per_element())

BOOST_AUTO_TEST_SUITE(tokenizer)

BOOST_AUTO_TEST_CASE(merges_within_pieces_only) {
  const auto tok = test::tiny_tokenizer();
  TEST_IDS(encode(tok, "hello world"), {260, 261, 'o', 'r', 'l', 'd'});
  TEST_IDS(encode(tok, "1é"), {'1', 262});
  TEST_IDS(encode(tok, ""), {});
}

BOOST_AUTO_TEST_CASE(added_tokens_match_only_where_they_are_allowed) {
  const auto tok = test::tiny_tokenizer();
  TEST_IDS(encode(tok, "a<think>hello"), {'a', 265, 260});
  TEST_IDS(encode(tok, "<think>", special_tokens::plain_text), {'<', 't', 'h', 'i', 'n', 'k', '>'});
}

BOOST_AUTO_TEST_CASE(newer_files_write_merges_as_pairs) {
  auto json = test::tiny_tokenizer_json();
  boost::json::array pairs;
  for (const auto& merge : json["model"].at("merges").as_array()) {
    const std::string text(merge.as_string());
    pairs.push_back({text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)});
  }
  json["model"].as_object()["merges"] = pairs;

  const auto tok = test::parse_tokenizer(json).value();

  TEST_IDS(encode(tok, "hello world"), {260, 261, 'o', 'r', 'l', 'd'});
}

BOOST_AUTO_TEST_CASE(ignore_merges_takes_a_piece_that_is_a_token_whole) {
  auto json = test::tiny_tokenizer_json();
  json["model"].at("vocab").as_object()["abc"] = 278;
  TEST_IDS(encode(test::parse_tokenizer(json).value(), "abc"), {'a', 'b', 'c'});

  json["model"].as_object()["ignore_merges"] = true;
  TEST_IDS(encode(test::parse_tokenizer(json).value(), "abc"), {278});
}

// The tokenizers library searches for normalized added tokens only in what the others leave over.
BOOST_AUTO_TEST_CASE(normalized_added_tokens_come_second) {
  auto json = test::tiny_tokenizer_json();
  auto& added = json["added_tokens"].as_array();
  added.push_back({{"id", 278}, {"content", "ab"}, {"special", false}, {"normalized", true}});
  added.push_back({{"id", 279}, {"content", "bc"}, {"special", false}, {"normalized", false}});
  TEST_IDS(encode(test::parse_tokenizer(json).value(), "abc ab"), {'a', 279, ' ', 278});
}

BOOST_AUTO_TEST_CASE(byte_level_alone_uses_gpt2s_expression) {
  auto json = test::tiny_tokenizer_json();
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  const auto tok = test::parse_tokenizer(json).value();
  TEST_IDS(encode(tok, "world's"), {261, 'o', 'r', 'l', 'd', '\'', 's'});
}

BOOST_AUTO_TEST_CASE(invalid_utf8_is_refused_with_its_place) {
  const auto tok = test::tiny_tokenizer();
  const auto encoded = tok.encode("ab\xFF", special_tokens::match);
  BOOST_REQUIRE(!encoded);
  BOOST_TEST((encoded.error().code == errc::bad_input));
  BOOST_TEST(encoded.error().message == "text is not valid UTF-8 at byte 2");
}

BOOST_AUTO_TEST_CASE(decoding_drops_special_tokens_and_keeps_the_markers_of_thinking) {
  const auto tok = test::tiny_tokenizer();
  const ids answer{263, 265, 260, 266, 0xF0, 0x9F, -1, 9999, 264};
  BOOST_TEST(tok.decode(answer) == "<think>hello</think>\uFFFD");
  BOOST_TEST(tok.decode(answer, false) == "<｜begin▁of▁sentence｜><think>hello</think>\uFFFD<｜end▁of▁sentence｜>");
}

BOOST_AUTO_TEST_CASE(knows_its_tokens_by_name_and_by_id) {
  const auto tok = test::tiny_tokenizer();
  BOOST_TEST(tok.find("</think>") == 266);
  BOOST_TEST(tok.find("hello") == 260);
  BOOST_TEST(tok.find("no such token") == -1);
  BOOST_TEST(tok.bytes(261) == " w");
  BOOST_TEST(tok.bytes(278) == "");
  BOOST_TEST(tok.is_special(264));
  BOOST_TEST(!tok.is_special(265));
  BOOST_TEST(tok.vocab_size() == 278);
  BOOST_TEST(tok.longest_token_bytes() == std::string_view("<｜tool▁outputs▁begin｜>").size());
}

BOOST_AUTO_TEST_CASE(any_text_decodes_to_itself) {
  TROUPE_RANDOM(random);
  const auto tok = test::tiny_tokenizer();
  const std::vector<std::string> parts{"hello", " ", "\n", "é", "🤖", "中", "<think>", "<thi", "1", "w", "ll"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (auto count = random() % 20; count > 0; --count) text += parts[random() % parts.size()];
    BOOST_TEST(tok.decode(encode(tok, text), false) == text);
    BOOST_TEST(tok.decode(encode(tok, text, special_tokens::plain_text)) == text);
  }
}

// Eight megabytes of letters are one piece; quadratic merging would take hours.
BOOST_AUTO_TEST_CASE(a_piece_of_megabytes_ends) {
  const auto tok = test::tiny_tokenizer();
  const std::string text(limits::http_body_bytes_max, 'l');
  BOOST_TEST(encode(tok, text).size() == text.size() / 2);
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_named) {
  const auto loaded = model::tokenizer::load("/nonexistent");
  BOOST_REQUIRE(!loaded);
  BOOST_TEST((loaded.error().code == errc::not_found));
  BOOST_TEST(loaded.error().message == "/nonexistent/tokenizer.json: no such file");
}

BOOST_AUTO_TEST_SUITE_END()
