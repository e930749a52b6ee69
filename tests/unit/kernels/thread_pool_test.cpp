#include "kernels/cpu/stream.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::kernels;

BOOST_AUTO_TEST_SUITE(thread_pool)

BOOST_AUTO_TEST_CASE(calls_every_index_once) {
  for (const int threads : {1, 2, 5}) {
    troupe::kernels::thread_pool pool(threads);
    BOOST_TEST(pool.size() == threads);
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
      pool.parallel_for(count, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
      for (const auto& c : calls) BOOST_TEST(c == 1);
    }
  }
}

// Short loops one after another: a worker that wakes late must neither run an old loop nor hold up a new one.
BOOST_AUTO_TEST_CASE(survives_many_short_loops) {
  troupe::kernels::thread_pool pool(4);
  for (std::int64_t loop = 0; loop < 5000; ++loop) {
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(5, [&, loop](std::int64_t i) { sum += loop + i; });
    BOOST_REQUIRE(sum == 5 * loop + 10);
  }
}

BOOST_AUTO_TEST_CASE(measures_reading) {
  troupe::kernels::thread_pool pool(2);
  const double gbs = stream_read_gbs(pool, 1 << 24, 2);
  BOOST_TEST(gbs > 0.01);
  BOOST_TEST(gbs < 1e5);
}

BOOST_AUTO_TEST_SUITE_END()
