// What lies unused goes back to the system; what is needed again and again stays.
#include "runtime/core/segment_pool.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <set>
#include <vector>

namespace {

constexpr std::size_t block = 8192;

/// Takes so many blocks at once and gives them back.
void use(troupe::segment_pool& pool, std::size_t count, std::size_t capacity = block) {
  std::vector<std::byte*> taken;
  for (std::size_t i = 0; i < count; ++i) taken.push_back(pool.take(capacity));
  BOOST_TEST(std::set(taken.begin(), taken.end()).size() == count);
  for (auto* const memory : taken) pool.give_back(memory, capacity);
}

} // namespace

BOOST_AUTO_TEST_SUITE(segment_pool)

BOOST_AUTO_TEST_CASE(memory_is_used_again) {
  troupe::segment_pool pool(1 << 20, 100);
  auto* const first = pool.take(block);
  pool.give_back(first, block);
  BOOST_TEST(pool.held_bytes() == block);
  auto* const again = pool.take(block);
  BOOST_TEST(again == first);
  BOOST_TEST(pool.held_bytes() == 0u);
  pool.give_back(again, block);
}

BOOST_AUTO_TEST_CASE(it_holds_no_more_than_it_may) {
  troupe::segment_pool pool(4 * block, 1'000);
  use(pool, 10);
  BOOST_TEST(pool.held_bytes() == 4 * block);
  use(pool, 1, 8 * block);
  BOOST_TEST(pool.held_bytes() == 4 * block);
}

BOOST_AUTO_TEST_CASE(large_blocks_come_and_go_like_small_ones) {
  constexpr std::size_t large = 1 << 20;
  troupe::segment_pool pool(8 * large, 16);
  use(pool, 12, large);
  BOOST_TEST(pool.held_bytes() == 8 * large);
  for (int i = 0; i < 16 * 8; ++i) use(pool, 1, large);
  BOOST_TEST(pool.held_bytes() <= 2 * large);
  auto* const memory = pool.take(large);
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(memory) % troupe::segment_pool::alignment == 0u);
  memory[large - 1] = std::byte{1};
  pool.give_back(memory, large);
}

BOOST_AUTO_TEST_CASE(a_peak_is_forgotten) {
  troupe::segment_pool pool(1 << 20, 64);
  use(pool, 64);
  BOOST_TEST(pool.held_bytes() == 64 * block);
  for (int i = 0; i < 64 * 16; ++i) use(pool, 1);
  BOOST_TEST(pool.held_bytes() <= 2 * block);
  BOOST_TEST(pool.held_bytes() >= block);
}

BOOST_AUTO_TEST_CASE(a_peak_that_no_other_size_follows_is_forgotten_too) {
  troupe::segment_pool pool(1 << 20, 16);
  use(pool, 32);
  for (int i = 0; i < 16 * 16; ++i) use(pool, 1, 4 * block);
  BOOST_TEST(pool.held_bytes() <= 4 * block + 2 * block);
}

BOOST_AUTO_TEST_CASE(what_comes_back_regularly_stays) {
  troupe::segment_pool pool(1 << 20, 64);
  for (int i = 0; i < 100; ++i) {
    use(pool, 24);
    BOOST_TEST(pool.held_bytes() == 24 * block);
  }
}

BOOST_AUTO_TEST_SUITE_END()
