#include "runtime/core/philox.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;

BOOST_AUTO_TEST_SUITE(philox)

// Known-answer vectors of Random123's kat_vectors for philox4x32 with 10 rounds.
BOOST_AUTO_TEST_CASE(matches_random123) {
  const std::array<std::uint32_t, 4> zero{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  BOOST_TEST(philox4x32({0, 0, 0, 0}, {0, 0}) == zero, boost::test_tools::per_element());
  const std::array<std::uint32_t, 4> ones{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  BOOST_TEST(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == ones, boost::test_tools::per_element());
  const std::array<std::uint32_t, 4> pi{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  BOOST_TEST(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) == pi,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(streams_differ) {
  BOOST_TEST(philox_uniform(1, 2, draw_stream::target) != philox_uniform(1, 2, draw_stream::draft));
}

BOOST_AUTO_TEST_SUITE_END()
