// The simulated network keeps what transport.hpp promises whatever it does to datagrams, and does it again for a seed.
#include "runtime/core/limits.hpp"
#include "runtime/net/sim/sim_network.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace troupe;
using namespace troupe::net;
using namespace std::chrono_literals;

namespace {

struct stamp {
  std::uint32_t stream = 0, number = 0;
  friend bool operator==(const stamp&, const stamp&) = default;
};

/// Writes down what its transport tells it.
struct recorder final : transport_listener {
  explicit recorder(sim_network& n) : network(n), wire(n.make_transport()) {}
  ~recorder() override { wire->stop(); }

  void on_peer_up(peer_id, const std::string& uri, std::span<const std::byte>) override { up.push_back(uri); }
  void on_frame(peer_id, std::span<const std::byte> meta, std::span<segment> segments, receipt room) override {
    stamp numbers;
    std::memcpy(&numbers, meta.data(), sizeof numbers);
    by_stream[numbers.stream].push_back(numbers.number);
    history.emplace_back(network.now() - begin, numbers);
    segment_bytes += segments.empty() ? 0 : segments[0].size();
    if (keeps) kept.push_back(std::move(room));
  }
  void on_peer_down(peer_id, const error& why) override { down.push_back(why.message); }
  bool run_some() override { return false; }

  void start() { BOOST_REQUIRE(wire->start(*this, {}).has_value()); }
  peer_id reach(const recorder& other) { return wire->connect(other.wire->uri()).value(); }
  result<void> send(peer_id to, std::uint32_t stream, std::uint32_t number, std::size_t bytes = 0) {
    const stamp numbers{stream, number};
    const std::vector<segment> segments(bytes ? 1 : 0, segment::allocate(bytes));
    return wire->send(to, stream_id(stream), std::as_bytes(std::span(&numbers, 1)), segments);
  }

  sim_network& network;
  std::unique_ptr<transport> wire;
  time_point begin = network.now();
  std::vector<std::string> up, down;
  std::map<std::uint32_t, std::vector<std::uint32_t>> by_stream;
  std::vector<std::pair<duration, stamp>> history;
  std::size_t segment_bytes = 0;
  bool keeps = false;
  std::vector<receipt> kept;
};

const sim_rules hostile{.delay_min = 10us, .delay_max = 5ms, .retransmit_after = 7ms, .loss = 0.2, .duplicate = 0.2};

/// 5 streams of 200 frames over a network of this kind.
struct busy_pair {
  explicit busy_pair(std::uint64_t seed, sim_rules rules) : network(seed, rules) {
    a.start();
    b.start();
    const auto to = a.reach(b);
    for (std::uint32_t i = 0; i < 200; ++i)
      for (std::uint32_t stream = 0; stream < 5; ++stream) BOOST_REQUIRE(a.send(to, stream, i).has_value());
  }

  sim_network network;
  recorder a{network}, b{network};
};

std::vector<std::uint32_t> all_200() {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < 200; ++i) out.push_back(i);
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(sim)

BOOST_AUTO_TEST_CASE(every_frame_arrives_once_and_in_the_order_of_its_stream) {
  busy_pair pair(troupe::testing::fresh_seed(), hostile);

  pair.network.run_until_idle();

  BOOST_TEST(pair.a.up.size() == 1u);
  BOOST_TEST(pair.b.up.size() == 1u);
  BOOST_TEST(pair.b.by_stream.size() == 5u);
  for (const auto& [stream, numbers] : pair.b.by_stream) BOOST_TEST(numbers == all_200());
  const auto counts = pair.network.counts();
  BOOST_TEST(counts.lost > 0u);
  BOOST_TEST(counts.doubled > 0u);
  BOOST_TEST(counts.reordered > 0u);
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_history) {
  const auto seed = troupe::testing::fresh_seed();
  busy_pair first(seed, hostile), again(seed, hostile), other(seed + 1, hostile);

  first.network.run_until_idle();
  again.network.run_until_idle();
  other.network.run_until_idle();

  BOOST_TEST((first.b.history == again.b.history));
  BOOST_TEST((first.b.history != other.b.history));
}

BOOST_AUTO_TEST_CASE(a_short_partition_loses_nothing) {
  busy_pair pair(1, hostile);
  pair.network.advance(3ms);
  pair.network.part(*pair.a.wire, *pair.b.wire);
  pair.network.advance(limits::ping_timeout - 1ms);
  const auto before = pair.b.history.size();
  pair.network.heal(*pair.a.wire, *pair.b.wire);

  pair.network.run_until_idle();

  BOOST_TEST(before < 1000u);
  BOOST_TEST(pair.b.history.size() == 1000u);
  BOOST_TEST(pair.a.down.empty());
}

BOOST_AUTO_TEST_CASE(a_long_partition_parts_the_peers_who_may_meet_again) {
  busy_pair pair(1, hostile);
  pair.network.advance(10ms);
  pair.network.part(*pair.a.wire, *pair.b.wire);

  pair.network.advance(limits::ping_timeout + 1ms);

  BOOST_TEST(pair.a.down.size() == 1u);
  BOOST_TEST(pair.b.down.size() == 1u);
  pair.network.heal(*pair.a.wire, *pair.b.wire);
  const auto anew = pair.a.reach(pair.b);
  BOOST_TEST(pair.a.send(anew, 9, 1).has_value());
  pair.network.run_until_idle();
  BOOST_TEST(pair.b.by_stream[9].size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_receiver_that_keeps_its_receipts_stops_its_sender) {
  sim_network network(1, {.credit_frames = 4, .waiting_bytes_max = 100'000});
  recorder a(network), b(network);
  a.start();
  b.start();
  b.keeps = true;
  const auto to = a.reach(b);
  int accepted = 0;
  result<void> last;
  while ((last = a.send(to, 0, 0, 10'000))) ++accepted;

  network.run_until_idle();

  BOOST_TEST(int(last.error().code) == int(errc::overloaded));
  BOOST_TEST(b.history.size() == 4u);
  b.keeps = false;
  b.kept.clear();
  network.run_until_idle();
  BOOST_TEST(b.history.size() == static_cast<std::size_t>(accepted));
  BOOST_TEST(a.send(to, 0, 0, 10'000).has_value());
}

BOOST_AUTO_TEST_CASE(the_end_of_a_process_is_noticed_by_its_peers_only) {
  busy_pair pair(1, {});
  pair.network.advance(1ms);
  pair.network.kill(*pair.b.wire);

  pair.network.run_until_idle();

  BOOST_TEST(pair.a.down == std::vector{pair.b.wire->uri() + " has died"});
  BOOST_TEST(pair.b.down.empty());
  BOOST_TEST(int(pair.a.send(peer_id(0), 0, 0).error().code) == int(errc::disconnected));
}

BOOST_AUTO_TEST_CASE(stopping_sends_what_was_accepted_first) {
  busy_pair pair(1, hostile);

  pair.a.wire->stop();
  pair.network.run_until_idle();

  BOOST_TEST(pair.b.history.size() == 1000u);
  BOOST_TEST(pair.b.down == std::vector{pair.a.wire->uri() + " has left"});
  BOOST_TEST(pair.a.down.empty());
}

BOOST_AUTO_TEST_CASE(where_nobody_is_a_peer_goes_down) {
  sim_network network(1);
  recorder a(network);
  a.start();

  BOOST_TEST(!a.wire->connect("nowhere").has_value());
  BOOST_TEST(a.wire->connect("sim://host:77/77").has_value());
  network.run_until_idle();

  BOOST_TEST(a.down == std::vector<std::string>{"nobody answers at sim://host:77/77"});
}

BOOST_AUTO_TEST_CASE(both_dialling_at_once_make_one_connection) {
  sim_network network(1);
  recorder a(network), b(network);
  a.start();
  b.start();
  const auto to_b = a.reach(b);
  const auto to_a = b.reach(a);
  BOOST_TEST(a.send(to_b, 1, 1).has_value());
  BOOST_TEST(b.send(to_a, 2, 2).has_value());

  network.run_until_idle();

  BOOST_TEST(a.up.size() == 1u);
  BOOST_TEST(b.up.size() == 1u);
  BOOST_TEST(a.history.size() == 1u);
  BOOST_TEST(b.history.size() == 1u);
}

BOOST_AUTO_TEST_CASE(timers_run_at_their_time) {
  sim_network network(1);
  recorder a(network);
  a.start();
  std::vector<duration> ran;
  for (const auto after : {30ms, 10ms})
    a.wire->post_at(network.now() + after, [&] { ran.push_back(network.now() - a.begin); });

  network.advance(20ms);
  const auto early = ran.size();
  network.advance(20ms);

  BOOST_TEST(early == 1u);
  BOOST_TEST((ran == std::vector<duration>{10ms, 30ms}));
}

BOOST_AUTO_TEST_CASE(hot_bytes_reach_their_lane) {
  sim_network network(1, hostile);
  recorder a(network), b(network);
  std::vector<std::byte> got;
  b.wire->on_hot(3, [&](peer_id, std::span<const std::byte> bytes) { got.assign(bytes.begin(), bytes.end()); });
  a.start();
  b.start();
  const auto to = a.reach(b);

  const std::vector<std::byte> sent(100, std::byte{7});
  BOOST_TEST(a.wire->send_hot(to, 3, sent).has_value());
  BOOST_TEST(!a.wire->send_hot(to, 3, std::vector<std::byte>(transport::hot_bytes_max + 1)).has_value());
  network.run_until_idle();

  BOOST_TEST((got == sent));
}

BOOST_AUTO_TEST_SUITE_END()
