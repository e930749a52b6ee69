// One seed a test run: fresh by default, `TROUPE_SEED=n` replays it. A failing case prints it.
#pragma once

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace troupe::test {

inline std::uint64_t fresh_seed() {
  const char* replay = std::getenv("TROUPE_SEED");
  const std::uint64_t seed = replay ? std::strtoull(replay, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("TROUPE_SEED=" << seed);
  return seed;
}

} // namespace troupe::test

/// Declares a generator `name` whose seed every failure in this scope prints.
#define TROUPE_RANDOM(name)                                                                                            \
  const std::uint64_t name##_seed = troupe::test::fresh_seed();                                                        \
  BOOST_TEST_INFO_SCOPE("TROUPE_SEED=" << name##_seed);                                                                \
  std::mt19937_64 name(name##_seed)
