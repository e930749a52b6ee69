// A receiver that does not handle its frames makes the sender wait, then refuse; handled frames let it go on.
#include "tests/support/transport_rig.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/data/test_case.hpp>

using namespace troupe;
using namespace troupe::testing;

BOOST_AUTO_TEST_SUITE(ucx_credit)

const auto networks = boost::unit_test::data::make({"tcp", "posix,sysv,cma"});

/// A task of `at`'s progress thread after everything that has been sent and answered before.
void let_settle(node& at) {
  for (int i = 0; i < 20; ++i) {
    std::promise<void> done;
    at.transport->post_at(clock::now() + std::chrono::milliseconds(5), [&] { done.set_value(); });
    done.get_future().wait();
  }
}

BOOST_DATA_TEST_CASE(no_more_frames_arrive_than_the_receiver_has_room_for, networks, network) {
  node a(network);
  node b(network);
  const auto to_b = a.connected_to(b);
  constexpr std::size_t all = 2 * limits::peer_credit_frames + 1'000;

  for (std::size_t i = 0; i < all; ++i) BOOST_REQUIRE(a.send(to_b, std::to_string(i)).has_value());
  BOOST_REQUIRE(b.heard.wait([&] { return b.heard.unlocked_frames() == limits::peer_credit_frames; }));
  let_settle(a);
  BOOST_TEST(b.heard.frame_count() == limits::peer_credit_frames);

  for (std::size_t i = 0; i < all; ++i) {
    const auto frame = b.heard.wait_frame();
    BOOST_REQUIRE(frame.has_value());
    BOOST_REQUIRE(frame->meta == std::to_string(i));
  }
}

BOOST_DATA_TEST_CASE(whoever_sends_on_without_room_is_told_and_may_go_on_later, networks, network) {
  node a(network);
  node b(network);
  const auto to_b = a.connected_to(b);
  const auto part = segment::allocate(32u << 20);
  std::ranges::fill(part.writable(), std::byte{7});
  constexpr std::size_t on_the_wire = limits::peer_credit_bytes / (32u << 20);
  constexpr std::size_t waiting = limits::peer_waiting_bytes_max / (32u << 20);

  std::size_t taken = 0;
  auto last = a.send(to_b, "", {part});
  for (; last.has_value() && taken <= on_the_wire + waiting; last = a.send(to_b, "", {part})) ++taken;
  BOOST_REQUIRE(!last.has_value());
  BOOST_TEST((last.error().code == errc::overloaded));
  BOOST_TEST(taken >= waiting);

  for (std::size_t i = 0; i < taken; ++i) BOOST_REQUIRE(b.heard.wait_frame().has_value());
  BOOST_TEST(a.send(to_b, "again").has_value());
  BOOST_TEST(b.heard.wait_frame().has_value());
}

BOOST_DATA_TEST_CASE(a_frame_larger_than_all_room_goes_alone, networks, network) {
  node a(network);
  node b(network);
  const auto to_b = a.connected_to(b);
  std::vector<segment> parts(2, segment::allocate(limits::peer_credit_bytes / 2 + 1));

  BOOST_REQUIRE(a.send(to_b, "large", parts).has_value());
  BOOST_REQUIRE(a.send(to_b, "small").has_value());

  BOOST_TEST(b.heard.wait_frame()->meta == "large");
  BOOST_TEST(b.heard.wait_frame()->meta == "small");
}

BOOST_DATA_TEST_CASE(room_may_be_given_back_by_any_thread_and_after_the_transport, networks, network) {
  std::optional<got_frame> kept;
  {
    node a(network);
    node b(network);
    const auto to_b = a.connected_to(b);
    for (std::size_t i = 0; i < 3 * limits::peer_credit_frames; ++i) {
      BOOST_REQUIRE(a.send(to_b, "x").has_value());
      if (i % 2 == 1)
        for (int k = 0; k < 2; ++k) kept = b.heard.wait_frame(); // the receipt ends in the test's thread
    }
    BOOST_REQUIRE(kept.has_value());
  }
  kept.reset();
}

BOOST_AUTO_TEST_SUITE_END()
