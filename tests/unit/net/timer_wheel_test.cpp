#include "runtime/net/timer_wheel.hpp"

#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::net;
using std::chrono::microseconds;
using std::chrono::milliseconds;

BOOST_AUTO_TEST_SUITE(timer_wheel)

BOOST_AUTO_TEST_CASE(a_task_runs_once_never_early_and_at_most_a_slot_late) {
  TROUPE_RANDOM(random);
  time_point now{milliseconds(5'000)};
  troupe::net::timer_wheel wheel(now);
  int ran = 0, early = 0, late = 0;
  for (int i = 0; i < 2'000; ++i) {
    const auto when = now + microseconds(random() % 60'000'000); // several turns of the wheel
    wheel.add(when, [&, when] {
      ++ran;
      early += now < when;
      late += now > when + milliseconds(2);
    });
  }

  for (; ran < 2'000 && now < time_point{milliseconds(70'000)}; now += milliseconds(1)) wheel.advance(now);

  BOOST_TEST(ran == 2'000);
  BOOST_TEST(early == 0);
  BOOST_TEST(late == 0);
  BOOST_TEST(wheel.empty());
}

BOOST_AUTO_TEST_CASE(next_tells_when_to_come_again) {
  const time_point begin{milliseconds(123'456)};
  troupe::net::timer_wheel wheel(begin);
  BOOST_TEST((wheel.next() == time_point::max()));

  bool ran = false;
  wheel.add(begin + milliseconds(7), [&] { ran = true; });
  wheel.add(begin + milliseconds(9'000), [] {});

  BOOST_TEST((wheel.next() >= begin + milliseconds(7)));
  BOOST_TEST((wheel.next() <= begin + milliseconds(8)));
  wheel.advance(wheel.next());
  BOOST_TEST(ran);
  BOOST_TEST((wheel.next() >= begin + milliseconds(9'000)));
  BOOST_TEST((wheel.next() <= begin + milliseconds(9'001)));
}

BOOST_AUTO_TEST_CASE(what_is_due_already_runs_at_the_next_look_and_may_add_more) {
  time_point now{milliseconds(1'000)};
  troupe::net::timer_wheel wheel(now);
  int ran = 0;
  wheel.add(now - milliseconds(500), [&] {
    ++ran;
    wheel.add(now, [&] { ++ran; });
  });

  wheel.advance(now += milliseconds(1));
  wheel.advance(now += milliseconds(1));

  BOOST_TEST(ran == 2);
}

BOOST_AUTO_TEST_CASE(a_long_pause_loses_nothing) {
  time_point now{milliseconds(1'000)};
  troupe::net::timer_wheel wheel(now);
  int ran = 0;
  for (int i = 0; i < 100; ++i) wheel.add(now + milliseconds(i * 300), [&] { ++ran; });

  wheel.advance(now + std::chrono::hours(1));

  BOOST_TEST(ran == 100);
}

BOOST_AUTO_TEST_SUITE_END()
