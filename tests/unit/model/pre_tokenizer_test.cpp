#include "runtime/model/pre_tokenizer.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::model;

namespace {

split_step split_at(std::string_view regex, split_behavior behavior = split_behavior::isolated, bool invert = false) {
  return {pre_tokenizer_pattern::compile(regex).value(), behavior, invert};
}

template <class... Steps>
std::vector<std::string> pieces(std::string_view text, Steps... steps) {
  std::vector<pre_tokenizer_step> list;
  (list.emplace_back(std::move(steps)), ...);
  std::vector<std::string> found;
  pre_tokenizer(std::move(list)).split(text, [&](std::string_view piece) { found.emplace_back(piece); }).value();
  return found;
}

using strings = std::vector<std::string>;

} // namespace

#define TEST_PIECES(found, ...) BOOST_TEST((found) == (strings __VA_ARGS__), boost::test_tools::per_element())

BOOST_AUTO_TEST_SUITE(pre_tokenizer)

// The example of the tokenizers library's own documentation of the five behaviors.
BOOST_AUTO_TEST_CASE(each_behavior_treats_a_match_as_the_tokenizers_library_does) {
  const std::string_view text = "the-final--countdown";
  TEST_PIECES(pieces(text, split_at("-", split_behavior::removed)), {"the", "final", "countdown"});
  TEST_PIECES(pieces(text, split_at("-", split_behavior::isolated)), {"the", "-", "final", "-", "-", "countdown"});
  TEST_PIECES(pieces(text, split_at("-", split_behavior::merged_with_previous)), {"the-", "final-", "-", "countdown"});
  TEST_PIECES(pieces(text, split_at("-", split_behavior::merged_with_next)), {"the", "-final", "-", "-countdown"});
  TEST_PIECES(pieces(text, split_at("-", split_behavior::contiguous)), {"the", "-", "final", "--", "countdown"});
}

BOOST_AUTO_TEST_CASE(invert_splits_at_what_does_not_match) {
  TEST_PIECES(pieces("ab12c", split_at("[a-z]", split_behavior::removed, true)), {"a", "b", "c"});
}

// model-spec.md 11.1: "a  1" keeps both spaces together, unlike a splitter of one expression.
BOOST_AUTO_TEST_CASE(a_later_step_sees_each_piece_as_a_text_of_its_own) {
  TEST_PIECES(pieces("a  1", split_at("\\p{N}{1,3}"), split_at("\\s+(?!\\S)|\\s+")), {"a", "  ", "1"});
  TEST_PIECES(pieces("a  1", split_at("\\s+(?!\\S)|\\s+")), {"a", " ", " ", "1"});
}

BOOST_AUTO_TEST_CASE(white_space_is_unicodes) {
  for (const auto* space : {"\t", "\u0085", "\u00A0", "\u1680", "\u2003", "\u2028", "\u202F", "\u205F", "\u3000"})
    TEST_PIECES(pieces(std::string("a") + space + "b", split_at("\\s")), {"a", space, "b"});
  for (const auto* other : {"\u180E", "\u200B", "\uFEFF"})
    BOOST_TEST(pieces(std::string("a") + other + "b", split_at("\\s")).size() == 1u);
  TEST_PIECES(pieces("a\u180E b", split_at("[^\\s]+", split_behavior::removed)), {" "});
}

BOOST_AUTO_TEST_CASE(word_characters_are_onigurumas) {
  TEST_PIECES(pieces("e\u0301_1-½", split_at("\\w+", split_behavior::removed)), {"-½"});
  TEST_PIECES(pieces("a-b", split_at("\\W")), {"a", "-", "b"});
}

BOOST_AUTO_TEST_CASE(an_empty_match_splits_without_a_piece) {
  TEST_PIECES(pieces("abc", split_at("x*")), {"a", "b", "c"});
  TEST_PIECES(pieces("axb", split_at("x*")), {"a", "x", "b"});
}

BOOST_AUTO_TEST_CASE(a_literal_pattern_has_no_special_characters) {
  split_step dot{pre_tokenizer_pattern::literal(".").value()};
  TEST_PIECES(pieces("a.b", std::move(dot)), {"a", ".", "b"});
}

BOOST_AUTO_TEST_CASE(a_prefix_space_is_added_once) {
  TEST_PIECES(pieces("a b", split_at(" ", split_behavior::merged_with_next), prefix_space_step{}), {" a", " b"});
}

BOOST_AUTO_TEST_CASE(expressions_that_the_engines_read_differently_are_refused) {
  for (const auto* regex : {"\\h", "a\\b", "[a[b]]", "[a&&b]", "\\Qa", "[\\W]"}) {
    const auto compiled = pre_tokenizer_pattern::compile(regex);
    BOOST_TEST_CONTEXT(regex) {
      BOOST_REQUIRE(!compiled);
      BOOST_TEST((compiled.error().code == errc::unsupported));
    }
  }
  for (const auto* regex : {"[]a]", "[^]a]", "[\\[\\]]", "[[:alpha:]]"})
    BOOST_TEST(pre_tokenizer_pattern::compile(regex).has_value(), regex);
}

BOOST_AUTO_TEST_CASE(a_broken_expression_says_why) {
  BOOST_TEST(pre_tokenizer_pattern::compile("(a").error().message == "regular expression: missing closing parenthesis");
  BOOST_TEST(pre_tokenizer_pattern::compile("").error().message == "pattern is empty");
}

// A text that makes an expression of the checkpoint explode is refused after a bounded number of steps.
BOOST_AUTO_TEST_CASE(a_match_that_explodes_gives_up) {
  const auto pattern = pre_tokenizer_pattern::compile("(a|aa|aaa)+(?=[xy])(?<=z)").value();
  const auto found = pattern.find(std::string(200, 'a') + "x", 0);
  BOOST_REQUIRE(!found);
  BOOST_TEST(found.error().message.starts_with("regular expression gave up"), found.error().message);
}

BOOST_AUTO_TEST_SUITE_END()
