#include "runtime/kv/page_table.hpp"

#include "runtime/core/limits.hpp"

#include "tests/support/aborts.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::kv;

BOOST_AUTO_TEST_SUITE(page_table)

BOOST_AUTO_TEST_CASE(a_page_holds_page_tokens_positions) {
  BOOST_TEST(pages_for(0) == 0);
  BOOST_TEST(pages_for(1) == 1);
  BOOST_TEST(pages_for(limits::page_tokens) == 1);
  BOOST_TEST(pages_for(limits::page_tokens + 1) == 2);
}

BOOST_AUTO_TEST_CASE(grows_page_by_page_and_returns_all) {
  kv::page_pool pool(3);
  kv::page_table table;

  BOOST_TEST(table.cover(1, pool));
  BOOST_TEST(table.pages().size() == 1u);
  BOOST_TEST(table.cover(limits::page_tokens, pool));
  BOOST_TEST(table.pages().size() == 1u);
  BOOST_TEST(table.cover(2 * limits::page_tokens + 1, pool));
  BOOST_TEST(pool.free_pages() == 0);

  table.release(pool);
  BOOST_TEST(pool.free_pages() == 3);
  BOOST_TEST(table.pages().empty());
}

BOOST_AUTO_TEST_CASE(a_refused_growth_takes_nothing) {
  kv::page_pool pool(2);
  kv::page_table table;

  BOOST_TEST(table.cover(1, pool));
  BOOST_TEST(!table.cover(3 * limits::page_tokens, pool));
  BOOST_TEST(table.pages().size() == 1u);
  BOOST_TEST(pool.free_pages() == 1);

  table.release(pool);
}

BOOST_AUTO_TEST_CASE(losing_pages_stops_the_process) {
  kv::page_pool pool(2);
  BOOST_TEST(troupe::testing::aborts([&] {
    kv::page_table table;
    if (!table.cover(1, pool)) return;
  }));
}

BOOST_AUTO_TEST_SUITE_END()
