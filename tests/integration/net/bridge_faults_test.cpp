// What actors in different processes see of a network that loses, parts and does not keep up, and of peers that know
// other types. All over the simulated network, which can do that.
#include "tests/support/bridge_rig.hpp"

#include <future>
#include <string>
#include <thread>

using namespace caf;
using namespace std::chrono_literals;
using troupe::segment;
using troupe::test::ask;
using troupe::test::bridge_setup;
using troupe::test::comes_true;

namespace {

struct known_here_only {
  std::int64_t value = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, known_here_only& x) {
  return f(x.value);
}

std::vector<troupe::net::message_codec> configure(actor_system_config& config) {
  config.add_message_type<segment>("segment");
  return {};
}

behavior echo(event_based_actor*) {
  return {[](int x) { return x; }, [](tick_atom) { return make_error(sec::runtime_error); },
          [](const segment& x) { return static_cast<std::int64_t>(x.size()); }};
}

behavior silent(event_based_actor* self) {
  return {[self](int) -> result<int> { return self->make_response_promise<int>(); }};
}

struct pair_of_nodes : troupe::test::bridge_world {
  explicit pair_of_nodes(troupe::net::sim_rules rules = {}, std::uint64_t seed = 1)
      : bridge_world({troupe::test::wire::sim, false, rules}, seed) {}

  std::unique_ptr<troupe::test::bridge_node> server = make_node(configure);
  std::unique_ptr<troupe::test::bridge_node> client = make_node(configure);

  actor reach(const actor& published) {
    server->bridge().publish(published, "it");
    return client->reach(*server, "it");
  }
};

std::string message_of(const error& e) {
  return e.context().match_elements<std::string>() ? e.context().get_as<std::string>(0) : to_string(e);
}

} // namespace

BOOST_AUTO_TEST_SUITE(bridge_faults)

BOOST_AUTO_TEST_CASE(a_bad_network_changes_nothing_but_the_time_it_takes) {
  pair_of_nodes nodes({.delay_max = 3ms, .loss = 0.2, .duplicate = 0.2}, 7);
  const auto there = nodes.reach(nodes.server->spawn(echo));
  scoped_actor self{nodes.client->system()};
  int right = 0;

  for (int i = 0; i < 100; ++i) self->request(there, 10s, i).receive([&](int x) { right += x == i; }, [](error&) {});

  BOOST_TEST(right == 100);
  BOOST_TEST(nodes.network().counts().lost > 0u);
}

BOOST_AUTO_TEST_CASE(a_killed_process_ends_its_actors_and_every_request_to_it) {
  pair_of_nodes nodes;
  const auto there = nodes.reach(nodes.server->spawn(silent));
  scoped_actor self{nodes.client->system()};
  self->monitor(there);
  auto waiting = self->request(there, infinite, 1);
  BOOST_TEST(comes_true([&] { return nodes.client->bridge().open_request_count() == 1; }));

  nodes.network().kill(nodes.server->bridge().wire());

  error pending, reason;
  waiting.receive([](int) {}, [&](error& e) { pending = e; });
  self->receive([&](down_msg& down) { reason = down.reason; }, after(5s) >> [] {});
  BOOST_TEST((pending == sec::request_receiver_down));
  BOOST_TEST((reason == exit_reason::remote_link_unreachable));
  BOOST_TEST(nodes.client->bridge().open_request_count() == 0u);
}

BOOST_AUTO_TEST_CASE(after_a_partition_the_same_address_leads_there_again) {
  pair_of_nodes nodes;
  const auto there = nodes.reach(nodes.server->spawn(echo));
  scoped_actor self{nodes.client->system()};
  self->monitor(there);
  auto& a = nodes.client->bridge().wire();
  auto& b = nodes.server->bridge().wire();

  nodes.network().part(a, b);
  bool told = false;
  self->receive([&](down_msg&) { told = true; }, after(5s) >> [] {});
  nodes.network().heal(a, b);

  BOOST_TEST(told);
  BOOST_TEST((ask<int>(nodes.client->system(), there, 1).error == sec::request_receiver_down));
  const auto again = nodes.client->reach(*nodes.server, "it");
  BOOST_TEST(ask<int>(nodes.client->system(), again, 2).value.value() == 2);
}

BOOST_AUTO_TEST_CASE(an_actor_that_does_not_keep_up_slows_its_senders_and_requests_are_refused) {
  pair_of_nodes nodes({.credit_frames = 4, .waiting_bytes_max = 100'000});
  std::promise<void> go;
  auto gate = go.get_future().share();
  const auto slow = nodes.server->system().spawn<detached>([gate](event_based_actor*) -> behavior {
    return {[gate](const segment&) {
      gate.wait();
      return std::int64_t{1};
    }};
  });
  const auto there = nodes.reach(slow);
  scoped_actor self{nodes.client->system()};
  const auto bytes = segment::allocate(20'000);
  std::string refused;
  std::vector<decltype(self->request(there, 10s, bytes))> waiting;

  for (int i = 0; i < 20; ++i) waiting.push_back(self->request(there, 10s, bytes));
  const auto overloaded = nodes.client->bridge().counters().overloaded.load();
  go.set_value();

  int answered = 0;
  for (auto& request : waiting)
    request.receive([&](std::int64_t) { ++answered; }, [&](error& e) { refused = message_of(e); });
  BOOST_TEST(overloaded > 0u);
  BOOST_TEST(static_cast<std::size_t>(answered) + overloaded == 20u);
  BOOST_TEST(refused.find("does not keep up") != refused.npos, refused);
  anon_send_exit(slow, exit_reason::kill);
}

BOOST_AUTO_TEST_CASE(types_that_a_process_does_not_know_are_refused_by_name) {
  pair_of_nodes nodes;
  const auto there = nodes.reach(nodes.server->spawn(echo));
  const auto newer = nodes.make_node([](actor_system_config& config) {
    config.add_message_type<known_here_only>("a type of tomorrow");
    return std::vector<troupe::net::message_codec>{};
  });
  const auto codec = nodes.make_node([](actor_system_config& config) {
    config.add_message_type<known_here_only>("a type of tomorrow");
    return std::vector{troupe::net::plain_codec<known_here_only>("a codec of tomorrow")};
  });

  const auto type = ask<int>(newer->system(), newer->reach(*nodes.server, "it"), known_here_only{});
  const auto coded = ask<int>(codec->system(), codec->reach(*nodes.server, "it"), known_here_only{});
  const auto unregistered = ask<int>(nodes.client->system(), there, known_here_only{});

  BOOST_TEST(message_of(type.error) == "message type a type of tomorrow is not known here");
  BOOST_TEST(message_of(coded.error) == "message codec a codec of tomorrow is not known here");
  BOOST_TEST(message_of(unregistered.error).find("is not registered") != std::string::npos);
  BOOST_TEST(ask<int>(newer->system(), newer->reach(*nodes.server, "it"), 5).value.value() == 5);
}

BOOST_AUTO_TEST_CASE(timed_requests_are_timed_by_the_transport) {
  pair_of_nodes nodes;
  const auto there = nodes.reach(nodes.server->spawn(silent));
  const auto asker = nodes.client->spawn([there](event_based_actor* self) -> behavior {
    return {[self, there](tick_atom) -> result<std::int64_t> {
      auto promise = self->make_response_promise<std::int64_t>();
      const auto begin = troupe::clock::now();
      self->request(there, 30ms, 1)
          .then([](int) {},
                [promise, begin](error&) mutable {
                  promise.deliver(std::int64_t((troupe::clock::now() - begin) / 1ms));
                });
      return promise;
    }};
  });

  const auto waited = ask<std::int64_t>(nodes.client->system(), asker, tick_atom_v).value.value();

  BOOST_TEST(waited >= 30);
  BOOST_TEST(waited < 2'000); // an idle machine takes 31
}

BOOST_AUTO_TEST_SUITE_END()
