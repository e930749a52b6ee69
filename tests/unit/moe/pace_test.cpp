#include "runtime/moe/pace.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(pace)

BOOST_AUTO_TEST_CASE(nothing_is_known_before_the_first_batch) {
  moe::pace p;

  BOOST_TEST(!p.within(1, 1h));
}

BOOST_AUTO_TEST_CASE(a_batch_takes_as_long_a_pair_as_the_one_before) {
  moe::pace p;
  p.learn(100, 10ms);

  BOOST_TEST(p.within(50, 5ms));
  BOOST_TEST(!p.within(51, 5ms));

  p.learn(100, 1ms);

  BOOST_TEST(p.within(500, 5ms));
}

BOOST_AUTO_TEST_CASE(an_empty_batch_teaches_nothing) {
  moe::pace p;
  p.learn(10, 10ms);

  p.learn(0, 1ms);

  BOOST_TEST(p.within(5, 5ms));
  BOOST_TEST(!p.within(6, 5ms));
}

BOOST_AUTO_TEST_SUITE_END()
