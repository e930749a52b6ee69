#include "runtime/net/credit.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>
#include <vector>

using namespace troupe::net;

BOOST_AUTO_TEST_SUITE(credit)

namespace {

using receiver_ptr = std::shared_ptr<returned_room>;

receiver_ptr receiver_of(room window, int& calls) {
  return std::make_shared<returned_room>([&calls] { ++calls; }, window);
}

/// A frame comes in.
receipt admit(const receiver_ptr& receiver, std::uint64_t bytes) {
  BOOST_TEST_REQUIRE(receiver->admit(bytes));
  return {receiver, bytes};
}

/// A frame comes in and is handled.
void pass(const receiver_ptr& receiver, std::uint64_t bytes) { (void)admit(receiver, bytes); }

} // namespace

BOOST_AUTO_TEST_CASE(frames_go_out_until_the_window_is_full) {
  credit_window window({2, 100});

  BOOST_TEST(window.fits(60));
  window.take(60);
  BOOST_TEST(!window.fits(41));
  BOOST_TEST(window.fits(40));
  window.take(40);
  BOOST_TEST(!window.fits(0));
  BOOST_TEST(window.give_back({1, 60}));
  BOOST_TEST(window.fits(60));
}

BOOST_AUTO_TEST_CASE(a_frame_above_the_window_goes_alone) {
  credit_window window({10, 100});

  BOOST_TEST(window.fits(1'000));
  window.take(1'000);
  BOOST_TEST(!window.fits(0));
  BOOST_TEST(window.give_back({1, 1'000}));
  BOOST_TEST(window.fits(1));
}

BOOST_AUTO_TEST_CASE(room_that_was_never_taken_is_not_given_back) {
  credit_window window({10, 100});
  window.take(10);

  BOOST_TEST(!window.give_back({2, 10}));
  BOOST_TEST(!window.give_back({1, 11}));
  BOOST_TEST(window.give_back({1, 10}));
}

BOOST_AUTO_TEST_CASE(returned_room_is_sent_once_a_quarter_has_gathered) {
  int calls = 0;
  const auto receiver = receiver_of({8, 800}, calls);

  pass(receiver, 10);
  BOOST_TEST(calls == 0);
  pass(receiver, 10);
  BOOST_TEST(calls == 1);
  pass(receiver, 10);
  BOOST_TEST(calls == 1);

  const auto back = receiver->take();
  BOOST_TEST(back.frames == 3u);
  BOOST_TEST(back.bytes == 30u);
  BOOST_TEST(!receiver->any());
}

BOOST_AUTO_TEST_CASE(room_travels_along_once_a_sixteenth_has_gathered_or_the_sender_waits) {
  int calls = 0;
  const auto receiver = receiver_of({32, 3'200}, calls);

  pass(receiver, 10);
  BOOST_TEST(receiver->take_much().frames == 0u);
  pass(receiver, 10);
  BOOST_TEST(receiver->take_much().bytes == 20u);
  pass(receiver, 200);
  BOOST_TEST(receiver->take_much().frames == 1u);
  pass(receiver, 10);
  receiver->want();
  BOOST_TEST(receiver->take_much().frames == 1u);
  BOOST_TEST(receiver->take_much().frames == 0u);
}

BOOST_AUTO_TEST_CASE(a_sender_that_waits_gets_the_first_room_there_is) {
  int calls = 0;
  const auto receiver = receiver_of({1'000, 100'000}, calls);
  auto held = admit(receiver, 1);

  receiver->want();
  BOOST_TEST(calls == 0);
  held = {};

  BOOST_TEST(calls == 1);
  BOOST_TEST(receiver->take().frames == 1u);
  pass(receiver, 1);
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(a_sender_that_overdraws_is_seen) {
  int calls = 0;
  const auto receiver = receiver_of({2, 100}, calls);
  const auto first = admit(receiver, 90);

  BOOST_TEST(!receiver->admit(11));
}

BOOST_AUTO_TEST_CASE(no_room_is_lost_between_threads) {
  constexpr std::uint32_t frames = 20'000;
  const auto receiver = std::make_shared<returned_room>([] {}, room{frames, frames});
  std::vector<receipt> held;
  for (std::uint32_t i = 0; i < frames; ++i) held.push_back(admit(receiver, 1));

  std::thread other([&] {
    for (std::uint32_t i = 0; i < frames / 2; ++i) held[i] = {};
  });
  room sum;
  const auto collect = [&] {
    const auto back = receiver->take();
    sum = {sum.frames + back.frames, sum.bytes + back.bytes};
  };
  for (auto i = frames / 2; i < frames; ++i) held[i] = {}, collect();
  other.join();
  collect();

  BOOST_TEST(sum.frames == frames);
  BOOST_TEST(sum.bytes == frames);
}

BOOST_AUTO_TEST_SUITE_END()
