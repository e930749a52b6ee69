#include "runtime/policy/restart.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

using namespace troupe;
using namespace std::chrono_literals;

namespace {
const policy::restart_options options{.intensity = 3, .period = 60s, .delay_min = 100ms, .delay_max = 300ms};
constexpr double middle = 0.5; // of the jitter: the delay itself
const time_point start{};
} // namespace

BOOST_AUTO_TEST_SUITE(restart)

BOOST_AUTO_TEST_CASE(delays_double_up_to_their_limit_and_then_it_gives_up) {
  policy::restart child(options);

  BOOST_TEST((child.on_exit(start, middle) == 100ms));
  BOOST_TEST((child.on_exit(start + 1s, middle) == 200ms));
  BOOST_TEST((child.on_exit(start + 2s, middle) == 300ms));
  BOOST_TEST(!child.on_exit(start + 3s, middle));
  BOOST_TEST(child.restarts() == 3);
}

BOOST_AUTO_TEST_CASE(exits_older_than_the_period_are_forgiven) {
  policy::restart child(options);
  for (int i = 0; i < 100; ++i) BOOST_TEST(child.on_exit(start + i * 21s, middle).has_value());
  BOOST_TEST(child.restarts() == 100);
}

BOOST_AUTO_TEST_CASE(an_exit_exactly_a_period_ago_still_counts) {
  policy::restart child({.intensity = 1, .period = 60s});
  BOOST_TEST(child.on_exit(start, middle).has_value());
  BOOST_TEST(!child.on_exit(start + 60s, middle));
}

BOOST_AUTO_TEST_CASE(jitter_stays_within_a_fifth) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> uniform;
  for (int i = 0; i < 100; ++i) {
    policy::restart child(options);
    const auto delay = *child.on_exit(start, uniform(random));
    BOOST_TEST((delay >= 80ms && delay <= 120ms));
  }
}

BOOST_AUTO_TEST_CASE(no_restart_is_allowed_with_intensity_zero) {
  policy::restart child({.intensity = 0});
  BOOST_TEST(!child.on_exit(start, middle));
}

BOOST_AUTO_TEST_SUITE_END()
