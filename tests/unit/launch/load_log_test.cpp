// Loading speaks every few seconds, and knows how long it will take.
#include "launch/load_log.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(load_log)

BOOST_AUTO_TEST_CASE(says_how_long_the_rest_will_take_once_an_interval) {
  const time_point begin{};
  launch::load_log log(begin);

  const auto early = log.on_progress(1, 10, begin + 1s);
  const auto due = log.on_progress(2, 10, begin + limits::load_log_interval);
  const auto again = log.on_progress(3, 10, begin + limits::load_log_interval + 1s);

  BOOST_TEST(!early);
  const auto left = std::to_string(4 * limits::load_log_interval.count());
  BOOST_TEST(due.value_or("") == "loading weights: 2 of 10 parts, " + left + " s left");
  BOOST_TEST(!again);
}

BOOST_AUTO_TEST_CASE(has_nothing_to_say_at_the_beginning_and_at_the_end) {
  const time_point begin{};
  launch::load_log log(begin);

  BOOST_TEST(!log.on_progress(0, 10, begin + 1h));
  BOOST_TEST(!log.on_progress(10, 10, begin + 1h));
}

BOOST_AUTO_TEST_SUITE_END()
