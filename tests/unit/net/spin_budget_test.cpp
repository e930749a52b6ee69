#include "runtime/net/spin_budget.hpp"

#include <boost/test/unit_test.hpp>

using budget_type = troupe::net::spin_budget; // the suite has its name
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(spin_budget)

namespace {

/// Looks before `budget` says sleep.
int looks(const budget_type& budget) {
  int n = 0;
  while (n < 10'000 && !budget.used_up(n)) ++n;
  return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(it_begins_with_all_of_it) {
  BOOST_TEST(looks(budget_type(200)) == 201);
  BOOST_TEST(looks(budget_type(0)) == 1);
}

BOOST_AUTO_TEST_CASE(long_sleeps_shrink_it_to_a_few_looks) {
  budget_type budget(200);
  for (int i = 0; i < 10; ++i) budget.slept_for(1ms);

  BOOST_TEST(looks(budget) > 1);
  BOOST_TEST(looks(budget) < 20);
}

BOOST_AUTO_TEST_CASE(short_sleeps_bring_it_back) {
  budget_type budget(200);
  for (int i = 0; i < 10; ++i) budget.slept_for(1ms);
  for (int i = 0; i < 10; ++i) budget.slept_for(10us);

  BOOST_TEST(looks(budget) == 201);
}

BOOST_AUTO_TEST_CASE(so_do_messages_that_come_while_it_looks) {
  budget_type budget(200);
  for (int i = 0; i < 10; ++i) budget.slept_for(1ms);
  for (int i = 0; i < 10; ++i) budget.came_after(looks(budget) - 1);

  BOOST_TEST(looks(budget) == 201);
}

BOOST_AUTO_TEST_CASE(a_message_that_came_at_once_says_nothing) {
  budget_type budget(200);
  budget.came_after(0);
  BOOST_TEST(looks(budget) == 201);
}

BOOST_AUTO_TEST_CASE(a_small_budget_stays_small) {
  budget_type budget(4);
  for (int i = 0; i < 10; ++i) budget.slept_for(10us);
  BOOST_TEST(looks(budget) == 5);
  for (int i = 0; i < 10; ++i) budget.slept_for(1ms);
  BOOST_TEST(looks(budget) == 5);
}

BOOST_AUTO_TEST_CASE(whoever_never_sleeps_never_does) {
  budget_type budget(-1);
  budget.slept_for(1ms);
  budget.came_after(3);
  BOOST_TEST(looks(budget) == 10'000);
}

BOOST_AUTO_TEST_SUITE_END()
