// The hot lane, tasks and timers of the progress thread, and stopping.
#include "tests/support/transport_rig.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/data/test_case.hpp>

#include <atomic>
#include <thread>

using namespace troupe;
using namespace troupe::testing;

BOOST_AUTO_TEST_SUITE(ucx_lanes)

const auto networks = boost::unit_test::data::make({"tcp", "posix,sysv,cma"});

namespace {

std::unique_ptr<net::transport> make(const char* network) {
  auto made = net::make_ucx_transport(options_for(network));
  BOOST_REQUIRE(made.has_value());
  return std::move(*made);
}

} // namespace

BOOST_DATA_TEST_CASE(hot_bytes_come_whole_aligned_and_in_the_progress_thread, networks, network) {
  recorder at_a, at_b;
  auto a = make(network);
  auto b = make(network);
  std::promise<std::string> answered;
  std::atomic<bool> well{true};
  b->on_hot(3, [&](net::peer_id from, std::span<const std::byte> bytes) {
    well = well && b->in_progress_thread() && reinterpret_cast<std::uintptr_t>(bytes.data()) % 16 == 0;
    (void)b->send_hot(from, 5, bytes);
  });
  a->on_hot(5, [&](net::peer_id, std::span<const std::byte> bytes) {
    if (bytes.size() == net::transport::hot_bytes_max) answered.set_value(text_of(bytes));
  });
  BOOST_REQUIRE(a->start(at_a, {}).has_value());
  BOOST_REQUIRE(b->start(at_b, {}).has_value());

  const auto peer = a->connect(b->uri()).value();
  for (std::size_t size = 0; size < net::transport::hot_bytes_max; size += 13)
    BOOST_REQUIRE(a->send_hot(peer, 3, bytes_of(std::string(size, 'x'))).has_value());
  const std::string last(net::transport::hot_bytes_max, 'y');
  BOOST_REQUIRE(a->send_hot(peer, 3, bytes_of(last)).has_value());

  auto answer = answered.get_future();
  BOOST_REQUIRE((answer.wait_for(std::chrono::seconds(10)) == std::future_status::ready));
  BOOST_TEST(answer.get() == last);
  BOOST_TEST(well.load());
  BOOST_TEST((a->send_hot(peer, 3, bytes_of(last + "z")).error().code == errc::bad_input));
  BOOST_TEST((a->send_hot(peer, 16, {}).error().code == errc::bad_input));
  a->stop();
  b->stop();
}

BOOST_AUTO_TEST_CASE(tasks_run_in_the_progress_thread_and_in_order) {
  node a("tcp");
  std::vector<int> order;
  std::promise<bool> done;

  for (int i = 0; i < 100; ++i) a.transport->post([&order, i] { order.push_back(i); });
  a.transport->post([&] { done.set_value(a.transport->in_progress_thread() && order.size() == 100); });

  BOOST_TEST(done.get_future().get());
  BOOST_TEST(std::ranges::is_sorted(order));
  BOOST_TEST(!a.transport->in_progress_thread());
}

BOOST_AUTO_TEST_CASE(timers_run_when_they_are_due_and_not_before) {
  node a("tcp");
  std::promise<std::vector<int>> done;
  std::vector<int> order;
  const auto begin = clock::now();
  std::atomic<bool> early{false};

  for (const int ms : {30, 10, 20})
    a.transport->post_at(begin + std::chrono::milliseconds(ms), [&, ms] {
      early = early || clock::now() < begin + std::chrono::milliseconds(ms);
      order.push_back(ms);
      if (order.size() == 3) done.set_value(order);
    });

  BOOST_TEST((done.get_future().get() == std::vector<int>{10, 20, 30}));
  BOOST_TEST(!early.load());
}

BOOST_DATA_TEST_CASE(frames_of_many_threads_arrive_in_the_order_of_each, networks, network) {
  node a(network);
  node b(network);
  const auto to_b = a.connected_to(b);
  constexpr int threads = 4, frames = 2'000;

  std::vector<std::thread> senders;
  for (int t = 0; t < threads; ++t)
    senders.emplace_back([&, t] {
      for (int i = 0; i < frames; ++i) {
        const auto meta = std::to_string(t) + " " + std::to_string(i) + std::string(i % 50 == 0 ? 20'000 : 0, ' ');
        while (!a.send(to_b, meta, {}, static_cast<std::uint64_t>(t)).has_value()) std::this_thread::yield();
      }
    });
  std::vector<int> next(threads, 0);
  int wrong = 0;
  for (int i = 0; i < threads * frames; ++i) {
    const auto frame = b.heard.wait_frame();
    BOOST_REQUIRE(frame.has_value());
    const auto thread = static_cast<std::size_t>(std::stoi(frame->meta));
    wrong += std::stoi(frame->meta.substr(2)) != next[thread]++;
  }
  for (auto& sender : senders) sender.join();

  BOOST_TEST(wrong == 0);
}

BOOST_DATA_TEST_CASE(a_transport_that_stops_sends_what_it_has_accepted, networks, network) {
  node b(network);
  {
    node a(network);
    const auto to_b = a.transport->connect(b.transport->uri()).value();
    for (int i = 0; i < 200; ++i)
      BOOST_REQUIRE(a.send(to_b, std::to_string(i), {segment::allocate(i % 3 == 0 ? 200'000 : 10)}).has_value());
    a.transport->stop();
    BOOST_TEST((a.send(to_b, "late").error().code == errc::disconnected));
    BOOST_TEST(a.heard.down_count() == 0u);
  }
  for (int i = 0; i < 200; ++i) {
    const auto frame = b.heard.wait_frame();
    BOOST_REQUIRE(frame.has_value());
    BOOST_REQUIRE(frame->meta == std::to_string(i));
  }
  BOOST_TEST(b.heard.wait([&] { return b.heard.unlocked_downs() == 1; }));
}

BOOST_DATA_TEST_CASE(transports_stop_at_once_with_traffic_both_ways, networks, network) {
  for (int round = 0; round < 3; ++round) {
    node a(network);
    node b(network);
    const auto to_b = a.connected_to(b);
    const auto to_a = b.heard.wait_up(a.transport->uri()).value();
    std::atomic<bool> ending{false};
    a.heard.drops = b.heard.drops = true;
    const auto flood = [&](node& from, net::peer_id to) {
      while (!ending)
        if (!from.send(to, "x", {segment::allocate(70'000)}).has_value()) std::this_thread::yield();
    };
    std::thread from_a([&] { flood(a, to_b); });
    std::thread from_b([&] { flood(b, to_a); });
    for (auto* const side : {&a, &b})
      BOOST_TEST(side->heard.wait([&] { return side->heard.unlocked_frames_ever() > 200; }));

    const auto begin = clock::now();
    std::thread stop_a([&] { a.transport->stop(); });
    b.transport->stop();
    stop_a.join();
    BOOST_TEST_MESSAGE("both stopped in " << (clock::now() - begin) / std::chrono::milliseconds(1) << " ms");
    ending = true;
    from_a.join();
    from_b.join();
    BOOST_TEST(((clock::now() - begin) < patience));
  }
}

BOOST_AUTO_TEST_SUITE_END()
