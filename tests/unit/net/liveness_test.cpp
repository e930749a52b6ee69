#include "runtime/net/liveness.hpp"

#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::net;
using namespace std::chrono_literals;

namespace {

using verdict = troupe::net::liveness::verdict;

const time_point start{1000s};

duration uniform(std::mt19937_64& random, duration low, duration high) {
  return duration(std::uniform_int_distribution<duration::rep>(low.count(), high.count())(random));
}

/// Our loop and a peer that answers pings until it stops; delays are added on both sides.
struct answering_peer {
  troupe::net::liveness pulse{start};
  time_point now = start;
  time_point answer_at = time_point::max(); ///< the next sign's arrival
  time_point stop_at = time_point::max();   ///< pings after that are not answered

  /// Runs our loop until `end`: it wakes for the next tick or an answer, late by `lateness()`; a ping is answered
  /// after `delay()`. False when the peer is taken for lost.
  template <class Lateness, class Delay>
  bool survives_until(time_point end, Lateness lateness, Delay delay) {
    while (now < end) {
      now = std::max(now, std::min(answer_at, pulse.next_tick()) + lateness());
      if (answer_at <= now) {
        pulse.on_sign(now); // read when our loop runs, not when it arrived
        answer_at = time_point::max();
      }
      const auto said = pulse.tick(now);
      if (said == verdict::lost) return false;
      if (said == verdict::ping && answer_at == time_point::max() && now < stop_at) answer_at = now + delay();
    }
    return true;
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(liveness)

BOOST_AUTO_TEST_CASE(a_peer_that_talks_is_not_asked) {
  troupe::net::liveness pulse(start);
  auto now = start;
  for (int i = 0; i < 100; ++i) {
    now += 50ms;
    pulse.on_sign(now);
    BOOST_TEST((pulse.tick(now) == verdict::wait));
  }
  BOOST_TEST((pulse.next_tick() == now + limits::ping_interval));
}

BOOST_AUTO_TEST_CASE(a_silent_peer_is_asked_every_interval_and_lost_at_the_timeout) {
  troupe::net::liveness pulse(start);
  for (const auto at : {200ms, 400ms, 600ms, 800ms}) {
    BOOST_TEST((pulse.next_tick() == start + at));
    BOOST_TEST((pulse.tick(start + at - 1ms) == verdict::wait));
    BOOST_TEST((pulse.tick(start + at) == verdict::ping));
  }
  BOOST_TEST((pulse.next_tick() == start + limits::ping_timeout));
  BOOST_TEST((pulse.tick(start + limits::ping_timeout - 1ms) == verdict::wait));
  BOOST_TEST((pulse.tick(start + limits::ping_timeout) == verdict::lost));
}

BOOST_AUTO_TEST_CASE(a_lost_peer_stays_lost) {
  troupe::net::liveness pulse(start, {.ping_interval = 10ms, .ping_timeout = 12ms});
  BOOST_TEST((pulse.tick(start + 12ms) == verdict::lost));
  pulse.on_sign(start + 13ms);
  BOOST_TEST((pulse.tick(start + 14ms) == verdict::lost));
}

// SIGSTOP freezes the peer's loop between two signs; the kernel goes on acknowledging.
BOOST_AUTO_TEST_CASE(a_stopped_peer_is_lost_within_a_second_of_its_stop) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 1000; ++round) {
    answering_peer peer{.stop_at = start + uniform(random, 0s, 3s)};
    const auto prompt = [] { return 0ms; };
    const auto delay = [&] { return uniform(random, 10us, 1ms); };
    BOOST_TEST_REQUIRE(!peer.survives_until(peer.stop_at + 60s, prompt, delay));
    const auto after = peer.now - peer.stop_at;
    BOOST_TEST_REQUIRE((after <= 1001ms), "after " << after / 1us << " us");
  }
}

BOOST_AUTO_TEST_CASE(our_own_stall_is_not_held_against_the_peer) {
  for (const auto stall : {300ms, 1000ms, 10'000ms, 3'600'000ms}) {
    troupe::net::liveness pulse(start);
    BOOST_TEST((pulse.tick(start + 200ms) == verdict::ping));
    const auto back = start + 200ms + stall;
    BOOST_TEST((pulse.tick(back) == verdict::ping));
    pulse.on_sign(back + 1ms);
    BOOST_TEST((pulse.tick(back + 201ms) == verdict::ping));
  }
}

BOOST_AUTO_TEST_CASE(a_peer_that_died_during_our_stall_is_lost_within_the_timeout_after_it) {
  troupe::net::liveness pulse(start);
  auto now = start + 1h;
  int pings = 0;
  while (pulse.tick(now) != verdict::lost) {
    ++pings;
    now = pulse.next_tick();
  }
  BOOST_TEST((now - (start + 1h) <= limits::ping_timeout));
  BOOST_TEST(pings >= 3);
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_always_late_still_finds_a_dead_peer) {
  troupe::net::liveness pulse(start);
  auto now = start;
  int ticks = 0;
  do {
    now += 5s;
    ++ticks;
  } while (pulse.tick(now) != verdict::lost && ticks < 100);
  BOOST_TEST(ticks == 4); // four times 250 ms count
}

// Full load on both machines: loops run late, answers take up to half a second, our process stands still at times.
BOOST_AUTO_TEST_CASE(ten_minutes_of_jitter_raise_no_alarm) {
  TROUPE_RANDOM(random);
  answering_peer peer;
  const auto lateness = [&]() -> duration {
    if (random() % 200 == 0) return uniform(random, 1s, 5s); // our own loop stands still
    return uniform(random, 0ms, 150ms);
  };
  const auto delay = [&] { return uniform(random, 1ms, 500ms); };
  BOOST_TEST(peer.survives_until(start + 10min, lateness, delay));
}

BOOST_AUTO_TEST_SUITE_END()
