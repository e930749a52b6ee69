#include "runtime/model/text_stream.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/tiny_tokenizer.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::model;

namespace {

const model::tokenizer& tok() {
  static const auto tokenizer = test::tiny_tokenizer();
  return tokenizer;
}

struct answer {
  std::string reasoning, content;
  bool stopped = false;
  bool mixed = false; ///< some delta carried both
};

/// Streams the tokens of `text` (markers become their tokens) until it stops.
answer stream(model::text_stream& stream, std::string_view text) {
  answer all;
  const auto add = [&](const text_delta& delta) {
    all.reasoning += delta.reasoning;
    all.content += delta.content;
    all.stopped |= delta.stopped;
    all.mixed |= !delta.reasoning.empty() && !delta.content.empty();
  };
  const auto ids = tok().encode(text, special_tokens::match).value();
  for (const auto id : ids) add(stream.push(id));
  add(stream.finish());
  return all;
}

answer stream(std::string_view text, text_stream_options options = {}) {
  model::text_stream fresh(tok(), std::move(options));
  return stream(fresh, text);
}

} // namespace

BOOST_AUTO_TEST_SUITE(text_stream)

BOOST_AUTO_TEST_CASE(the_end_of_thinking_divides_reasoning_from_content) {
  model::text_stream r1(tok(), {.starts_in_reasoning = true});

  const auto all = stream(r1, "one two\n</think>\n\nthree\n");

  BOOST_TEST(all.reasoning == "one two\n");
  BOOST_TEST(all.content == "three\n");
  BOOST_TEST(r1.reasoning_tokens() == 8);
}

BOOST_AUTO_TEST_CASE(an_answer_may_open_its_reasoning_itself) {
  const auto all = stream("<think>\nabc</think>def");
  BOOST_TEST(all.reasoning == "abc");
  BOOST_TEST(all.content == "def");
}

BOOST_AUTO_TEST_CASE(a_marker_in_the_middle_of_content_is_text) {
  const auto all = stream("ab<think>cd</think>ef");
  BOOST_TEST(all.reasoning == "");
  BOOST_TEST(all.content == "ab<think>cd</think>ef");
}

BOOST_AUTO_TEST_CASE(an_answer_that_never_stops_thinking_has_no_content) {
  const auto all = stream("abc", {.starts_in_reasoning = true});
  BOOST_TEST(all.reasoning == "abc");
  BOOST_TEST(all.content == "");
}

BOOST_AUTO_TEST_CASE(a_completion_keeps_everything_as_content) {
  const auto all = stream("abc</think>\ndef", {.split_reasoning = false, .starts_in_reasoning = true});
  BOOST_TEST(all.content == "abc</think>\ndef");
}

BOOST_AUTO_TEST_CASE(special_tokens_are_shown_only_on_request) {
  BOOST_TEST(stream("a<｜end▁of▁sentence｜>").content == "a");
  BOOST_TEST(stream("a<｜end▁of▁sentence｜>", {.skip_special = false}).content == "a<｜end▁of▁sentence｜>");
}

BOOST_AUTO_TEST_CASE(a_stop_string_ends_the_answer_before_itself) {
  model::text_stream stopping(tok(), {.stop = {"never", "wor"}});

  const auto all = stream(stopping, "hello world wor");

  BOOST_TEST(all.content == "hello ");
  BOOST_TEST(all.stopped);
  BOOST_TEST(stopping.stop_string().value() == "wor");
}

BOOST_AUTO_TEST_CASE(a_stop_string_may_be_part_of_the_output) {
  BOOST_TEST(stream("hello world", {.stop = {"wor"}, .include_stop_str_in_output = true}).content == "hello wor");
}

BOOST_AUTO_TEST_CASE(the_leftmost_stop_string_counts) {
  BOOST_TEST(stream("xhello", {.stop = {"lo", "el"}}).content == "xh");
}

BOOST_AUTO_TEST_CASE(what_may_begin_a_stop_string_is_held_back_and_no_more) {
  model::text_stream holding(tok(), {.stop = {"aab"}});

  BOOST_TEST(holding.push('x').content == "x");
  BOOST_TEST(holding.push('a').content == "");
  BOOST_TEST(holding.push('a').content == "");
  BOOST_TEST(holding.push('a').content == "a");
  BOOST_TEST(holding.push('c').content == "aac");
  BOOST_TEST(holding.push('a').content == "");
  BOOST_TEST(holding.finish().content == "a");
}

BOOST_AUTO_TEST_CASE(reasoning_can_be_stopped_and_so_can_its_end) {
  const auto inside = stream("hello</think>world", {.stop = {"ll"}, .starts_in_reasoning = true});
  BOOST_TEST(inside.reasoning == "he");
  BOOST_TEST(inside.content == "");

  const auto at_end = stream("hello</think>world", {.stop = {"</think>"}, .starts_in_reasoning = true});
  BOOST_TEST(at_end.reasoning == "hello");
  BOOST_TEST(at_end.content == "");
  BOOST_TEST(at_end.stopped);
}

BOOST_AUTO_TEST_CASE(bytes_of_half_a_character_become_a_replacement) {
  model::text_stream broken(tok(), {.starts_in_reasoning = true});
  broken.push(0xF0);
  BOOST_TEST(broken.push(tok().find("</think>")).reasoning == "\uFFFD");
  BOOST_TEST(broken.push(0x9F).content == "\uFFFD");
}

BOOST_AUTO_TEST_CASE(without_stop_strings_streaming_shows_what_decoding_shows) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 300; ++round) {
    std::vector<token_id> ids(random() % 30);
    for (auto& id : ids) id = static_cast<token_id>(random() % 263);

    model::text_stream plain(tok(), {});
    std::string text;
    for (const auto id : ids) text += plain.push(id).content;
    text += plain.finish().content;

    BOOST_TEST(text == tok().decode(ids));
  }
}

// The reference looks for stop strings in the whole text at once.
BOOST_AUTO_TEST_CASE(any_stop_strings_cut_where_a_search_of_the_whole_text_would) {
  TROUPE_RANDOM(random);
  const auto word = [&](std::size_t size_max) {
    std::string text(1 + random() % size_max, '\0');
    for (auto& byte : text) byte = "ab"[random() % 2];
    return text;
  };
  for (int round = 0; round < 1000; ++round) {
    const auto text = word(20);
    const auto stop = word(4);

    const auto all = stream(text, {.stop = {stop}});

    BOOST_TEST(all.content == text.substr(0, text.find(stop)));
    BOOST_TEST(all.stopped == (text.find(stop) != std::string::npos));
  }
}

BOOST_AUTO_TEST_CASE(no_delta_carries_both_reasoning_and_content) {
  const auto all = stream("hello</think>\nhello", {.stop = {"ox", "</x"}, .starts_in_reasoning = true});
  BOOST_TEST(!all.mixed);
  BOOST_TEST(all.reasoning == "hello");
  BOOST_TEST(all.content == "hello");
}

BOOST_AUTO_TEST_SUITE_END()
