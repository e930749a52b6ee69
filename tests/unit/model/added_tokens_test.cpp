#include "runtime/model/added_tokens.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::model;

BOOST_AUTO_TEST_SUITE(added_tokens)

BOOST_AUTO_TEST_CASE(the_longest_of_the_leftmost_matches_wins) {
  troupe::model::added_tokens tokens;
  tokens.add("<a", 1);
  tokens.add("<a b>", 2);
  tokens.add("b>", 3);

  const auto match = tokens.find("x<a b>", 0);

  BOOST_REQUIRE(match.has_value());
  BOOST_TEST(match->id == 2);
  BOOST_TEST(match->offset == 1u);
  BOOST_TEST(match->size == 5u);
}

BOOST_AUTO_TEST_CASE(falls_back_to_the_shorter_token_when_the_longer_one_breaks_off) {
  troupe::model::added_tokens tokens;
  tokens.add("<a", 1);
  tokens.add("<a b>", 2);

  const auto match = tokens.find("<a b", 0);

  BOOST_REQUIRE(match.has_value());
  BOOST_TEST(match->id == 1);
}

BOOST_AUTO_TEST_CASE(nothing_is_found_after_the_last_token) {
  troupe::model::added_tokens tokens;
  tokens.add("<a>", 1);
  BOOST_TEST(!tokens.find("<a> <a", 1).has_value());
  BOOST_TEST(!tokens.find("", 0).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
