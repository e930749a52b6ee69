#include "runtime/policy/admission.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace std::chrono_literals;

namespace {
const time_point start{};
} // namespace

BOOST_AUTO_TEST_SUITE(admission)

BOOST_AUTO_TEST_CASE(admits_while_there_is_room) {
  policy::admission room(2);
  BOOST_TEST(room.on_arrival(0, start).admitted);
  BOOST_TEST(room.on_arrival(1, start).admitted);
  BOOST_TEST(!room.on_arrival(2, start).admitted);
}

BOOST_AUTO_TEST_CASE(the_wait_follows_the_measured_rate_and_the_line_before) {
  policy::admission room(1);
  for (int i = 0; i <= 10; ++i) room.on_departure(start + i * 2200ms); // 11 in 22 s

  BOOST_TEST((room.on_arrival(1, start + 22s).retry_after == 2s));
  BOOST_TEST((room.on_arrival(1, start + 22s).retry_after == 4s));
  BOOST_TEST((room.on_arrival(1, start + 22s).retry_after == 6s));
}

BOOST_AUTO_TEST_CASE(a_place_that_came_free_shortens_the_line) {
  policy::admission room(1);
  for (int i = 0; i <= 63; ++i) room.on_departure(start + i * 2s);
  const auto first = room.on_arrival(1, start + 128s).retry_after;
  room.on_departure(start + 128s);
  const auto next = room.on_arrival(1, start + 130s).retry_after;

  BOOST_TEST((first == 2s));
  BOOST_TEST((next == 2s));
}

BOOST_AUTO_TEST_CASE(the_wait_is_bounded_below_and_above) {
  policy::admission unknown(0), fast(0), slow(0);
  for (int i = 0; i < 100; ++i) fast.on_departure(start + i * 1ms);
  slow.on_departure(start);

  BOOST_TEST((unknown.on_arrival(0, start).retry_after == limits::retry_after_max));
  BOOST_TEST((fast.on_arrival(0, start + 100ms).retry_after == limits::retry_after_min));
  for (int i = 0; i < 1000; ++i) BOOST_TEST((slow.on_arrival(0, start + 3600s).retry_after == limits::retry_after_max));
}

BOOST_AUTO_TEST_SUITE_END()
