// Shared bytes from a pool.
#include "runtime/core/segment.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

BOOST_AUTO_TEST_SUITE(segment)

BOOST_AUTO_TEST_CASE(handles_share_bytes) {
  const auto first = troupe::segment::allocate(5000);
  std::ranges::fill(first.writable(), std::byte{7});

  const auto second = first;

  BOOST_TEST(second.bytes().data() == first.bytes().data());
  BOOST_TEST(second.size() == 5000u);
  BOOST_TEST(std::ranges::all_of(second.bytes(), [](std::byte b) { return b == std::byte{7}; }));
}

BOOST_AUTO_TEST_CASE(memory_is_aligned_and_used_again_only_after_the_last_handle) {
  auto first = troupe::segment::allocate(10'000);
  auto keeper = first;
  const auto* const memory = first.bytes().data();
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(memory) % 4096 == 0u);

  first = {};
  const auto other = troupe::segment::allocate(10'000);
  BOOST_TEST(other.bytes().data() != memory);
  keeper = {};
  const auto again = troupe::segment::allocate(9'000);

  BOOST_TEST(again.bytes().data() == memory);
}

BOOST_AUTO_TEST_CASE(no_bytes_need_no_memory) {
  BOOST_TEST(troupe::segment::allocate(0).empty());
  BOOST_TEST(troupe::segment::copy_of({}).empty());
  BOOST_TEST(troupe::segment().bytes().empty());
}

BOOST_AUTO_TEST_CASE(a_copy_has_the_same_bytes) {
  const std::vector<std::byte> bytes{std::byte{1}, std::byte{2}, std::byte{3}};

  const auto copy = troupe::segment::copy_of(bytes);

  BOOST_TEST(std::ranges::equal(copy.bytes(), bytes));
}

BOOST_AUTO_TEST_CASE(discarded_bytes_are_zeros_that_may_be_written) {
  for (const std::size_t size : {1u, 5'000u, 300'000u}) {
    const auto kept = troupe::segment::allocate(size);
    std::ranges::fill(kept.writable(), std::byte{7});
    kept.discard();
    BOOST_TEST(std::ranges::all_of(kept.bytes(), [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(kept.writable(), std::byte{9});
    BOOST_TEST((kept.bytes().back() == std::byte{9}));
  }
  troupe::segment().discard();
}

BOOST_AUTO_TEST_SUITE_END()
