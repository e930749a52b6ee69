#include "runtime/kv/page_pool.hpp"

#include "tests/support/aborts.hpp"

#include <boost/test/unit_test.hpp>

#include <set>

using namespace troupe;
using namespace troupe::kv;

BOOST_AUTO_TEST_SUITE(page_pool)

BOOST_AUTO_TEST_CASE(hands_out_every_page_once_and_then_none) {
  kv::page_pool pool(5);

  std::set<page_id> seen;
  while (const auto page = pool.take()) seen.insert(*page);

  BOOST_TEST(seen.size() == 5u);
  BOOST_TEST(pool.free_pages() == 0);
  BOOST_TEST(pool.usage() == 1.0);
}

BOOST_AUTO_TEST_CASE(the_page_given_back_last_is_the_next_one) {
  kv::page_pool pool(4);
  const auto first = *pool.take();
  const auto second = *pool.take();

  pool.give_back(first);
  pool.give_back(second);

  BOOST_TEST((*pool.take() == second));
  BOOST_TEST((*pool.take() == first));
  BOOST_TEST(pool.used_pages() == 2);
}

BOOST_AUTO_TEST_CASE(giving_back_twice_or_to_another_pool_stops_the_process) {
  kv::page_pool pool(2);
  const auto page = *pool.take();
  pool.give_back(page);
  BOOST_TEST(troupe::testing::aborts([&] { pool.give_back(page); }));
  BOOST_TEST(troupe::testing::aborts([&] { pool.give_back(page_id{2}); }));
}

BOOST_AUTO_TEST_CASE(an_empty_pool_is_fully_free) {
  kv::page_pool pool(0);
  BOOST_TEST(!pool.take());
  BOOST_TEST(pool.usage() == 0.0);
}

BOOST_AUTO_TEST_SUITE_END()
