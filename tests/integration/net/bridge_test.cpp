// What a handle to an actor in another process promises, over every kind of transport, pinned and scheduled.
#include "tests/support/bridge_rig.hpp"

#include <boost/test/data/test_case.hpp>

#include <cstring>
#include <map>
#include <set>
#include <thread>

using namespace caf;
using namespace std::chrono_literals;
using troupe::segment;
using troupe::test::ask;
using troupe::test::bridge_setup;
using troupe::test::comes_true;

namespace {

struct numbers {
  std::int64_t first = 0;
  double second = 0;
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, numbers& x) {
  return f(x.first, x.second);
}

using calculator = typed_actor<replies_to<add_atom, int, int>::with<int>, reacts_to<put_atom, int>>;
using stranger = typed_actor<replies_to<get_atom, std::string>::with<std::string>>;

behavior adder(event_based_actor*, int base) {
  return {[base](int x) { return base + x; }};
}

std::vector<troupe::net::message_codec> configure(actor_system_config& config) {
  config.add_message_type<segment>("segment");
  config.add_message_type<numbers>("numbers");
  config.add_message_type<calculator>("calculator");
  config.add_message_type<std::vector<actor>>("vector<actor>");
  config.add_message_type<std::vector<int>>("vector<int>");
  config.add_actor_type("adder", adder);
  return {troupe::net::plain_codec<atom_value, numbers>("atom, numbers")};
}

/// A company of two or three nodes; the first is the client, the second has "hub" and "calculator".
struct company : troupe::test::bridge_world {
  explicit company(bridge_setup setup);

  std::unique_ptr<troupe::test::bridge_node> server = make_node(configure);
  std::unique_ptr<troupe::test::bridge_node> client = make_node(configure);
  actor hub;
};

segment filled(std::size_t size, char with) {
  auto out = segment::allocate(size);
  std::memset(out.writable().data(), with, size);
  return out;
}

struct hub_state {
  std::map<std::string, actor> guests;
  int next = 0, out_of_order = 0;
};

behavior victim(event_based_actor* self) {
  return {[](int x) { return x + 1; }, [self](close_atom) { self->quit(exit_reason::user_shutdown); },
          [](const std::string&) -> result<int> { return sec::runtime_error; }};
}

/// Counts what comes in order.
behavior counter(stateful_actor<hub_state>* self) {
  return {[self](int i) { self->state.out_of_order += i != self->state.next++; },
          [self](get_atom) { return std::make_tuple(self->state.next, self->state.out_of_order); }};
}

behavior hub_actor(stateful_actor<hub_state>* self, troupe::test::bridge_node* house) {
  return {
      [self](put_atom, const std::string& name, const actor& guest) {
        self->state.guests[name] = guest;
        return ok_atom_v;
      },
      [self](get_atom, const std::string& name) { return self->state.guests[name]; },
      [house](spawn_atom) { return actor(house->spawn(victim)); },
      [self](forward_atom, const actor& to, int x) { return self->delegate(to, x); },
      [self](subscribe_atom, const actor& whom, int count) {
        for (int i = 0; i < count; ++i) self->send(whom, i);
      },
      [self](tick_atom) -> result<int> { return self->make_response_promise<int>(); },
      [self](put_atom, int i, const segment& bytes) {
        self->state.out_of_order += i != self->state.next++;
        if (bytes.bytes().back() != std::byte(i)) self->state.out_of_order += 1000;
      },
      [self](put_atom, const numbers& x) { self->state.out_of_order += x.first != self->state.next++; },
      [self](get_atom) { return std::make_tuple(self->state.next, self->state.out_of_order); },
      [](const segment& a, const std::string& text, const segment& b) { return make_message(b, text + "?", a); },
      [self](const std::vector<actor>& all) {
        for (const auto& a : all) self->send(a, 7);
        return static_cast<int>(all.size());
      },
      [](sys_atom) { return reinterpret_cast<std::uint64_t>(pthread_self()); },
  };
}

calculator::behavior_type calculate(calculator::pointer) {
  return {[](add_atom, int a, int b) { return a + b; }, [](put_atom, int) {}};
}

company::company(bridge_setup setup) : bridge_world(setup) {
  server->bridge().publish(server->spawn(hub_actor, server.get()), "hub");
  server->bridge().publish(server->spawn(calculate), "calculator");
  hub = client->reach(*server, "hub");
}

using troupe::test::wire;
const std::vector<bridge_setup> setups = {
    {wire::sim, false},    {wire::sim, true},      {wire::ucx_tcp, false},
    {wire::ucx_tcp, true}, {wire::ucx_shm, false}, {wire::ucx_shm, true},
};
namespace data = boost::unit_test::data;

} // namespace

BOOST_AUTO_TEST_SUITE(bridge)

BOOST_DATA_TEST_CASE(an_actor_is_found_by_its_name_and_no_other, data::make(setups), setup) {
  company c(setup);

  const auto unknown = c.client->bridge().remote_actor(c.server->uri(), "nobody");
  const auto malformed = c.client->bridge().remote_actor("127.0.0.1:1", "hub");

  BOOST_TEST((c.hub.node() == c.server->system().node()));
  BOOST_REQUIRE(!unknown.has_value());
  BOOST_TEST(int(unknown.error().code) == int(troupe::errc::not_found));
  BOOST_REQUIRE(!malformed.has_value());
  BOOST_TEST(int(malformed.error().code) == int(troupe::errc::bad_input));
}

BOOST_DATA_TEST_CASE(where_nobody_answers_is_an_error, data::make(setups), setup) {
  company c(setup);
  auto gone = c.make_node(configure);
  const auto uri = gone->uri();
  gone.reset();

  const auto found = c.client->bridge().remote_actor(uri, "hub");

  BOOST_REQUIRE(!found.has_value());
  BOOST_TEST(int(found.error().code) == int(troupe::errc::disconnected));
}

BOOST_DATA_TEST_CASE(typed_handles_are_checked, data::make(setups), setup) {
  company c(setup);

  const auto right = c.client->reach<calculator>(*c.server, "calculator");
  const auto wrong = c.client->bridge().remote_actor<stranger>(c.server->uri(), "calculator");

  BOOST_TEST(ask<int>(c.client->system(), right, add_atom_v, 3, 4).value.value() == 7);
  BOOST_REQUIRE(!wrong.has_value());
  BOOST_TEST(int(wrong.error().code) == int(troupe::errc::bad_input));
}

BOOST_DATA_TEST_CASE(requests_that_are_not_answered_time_out, data::make(setups), setup) {
  company c(setup);
  scoped_actor self{c.client->system()};
  error failure;

  self->request(c.hub, 50ms, tick_atom_v).receive([](int) {}, [&](error& e) { failure = e; });

  BOOST_TEST((failure == sec::request_timeout));
}

BOOST_DATA_TEST_CASE(errors_of_a_remote_actor_arrive, data::make(setups), setup) {
  company c(setup);
  const auto there = ask<actor>(c.client->system(), c.hub, spawn_atom_v).value.value();

  BOOST_TEST(ask<int>(c.client->system(), there, 1).value.value() == 2);
  BOOST_TEST((ask<int>(c.client->system(), there, std::string("x")).error == sec::runtime_error));
  BOOST_TEST((ask<int>(c.client->system(), c.hub, caf::atom("xyz")).error == sec::unexpected_message));
}

BOOST_DATA_TEST_CASE(then_and_await_take_remote_answers, data::make(setups), setup) {
  company c(setup);
  const auto there = ask<actor>(c.client->system(), c.hub, spawn_atom_v).value.value();
  const auto driver = c.client->spawn([there](event_based_actor* self) -> behavior {
    return {[self, there](ok_atom) -> result<int> {
      auto promise = self->make_response_promise<int>();
      self->request(there, 5s, 10).await([self, there, promise](int first) {
        self->request(there, infinite, first).then([promise](int second) mutable { promise.deliver(second); });
      });
      return promise;
    }};
  });

  BOOST_TEST(ask<int>(c.client->system(), driver, ok_atom_v).value.value() == 12);
}

BOOST_DATA_TEST_CASE(handles_in_messages_work_both_ways_and_keep_order, data::make(setups), setup) {
  company c(setup);
  const auto mine = c.client->spawn(counter);
  const auto count = [&] {
    std::pair<int, int> out;
    scoped_actor self{c.client->system()};
    self->request(mine, 5s, get_atom_v).receive([&](int n, int wrong) { out = {n, wrong}; }, [](error&) {});
    return out;
  };

  anon_send(c.hub, subscribe_atom_v, mine, 1000);

  BOOST_TEST(comes_true([&] { return count().first == 1000; }));
  BOOST_TEST(count().second == 0);
  const auto others = std::vector<actor>{mine, c.hub, mine};
  BOOST_TEST(ask<int>(c.client->system(), c.hub, others).value.value() == 3);
}

BOOST_DATA_TEST_CASE(handles_of_a_third_process_are_dialled_on_demand, data::make(setups), setup) {
  company c(setup);
  const auto third = c.make_node(configure);
  const auto guest = third->spawn([](event_based_actor*) -> behavior {
    return {[](int x) { return x * 10; }, [](const std::string& s) { return s + "@third"; }};
  });
  const auto known = ask<ok_atom>(third->system(), third->reach(*c.server, "hub"), put_atom_v, "third", guest);
  BOOST_REQUIRE(known.value.has_value());

  const auto handle = ask<actor>(c.client->system(), c.hub, get_atom_v, "third").value.value();

  BOOST_TEST((handle.node() == third->system().node()));
  BOOST_TEST(ask<std::string>(c.client->system(), handle, std::string("hi")).value.value() == "hi@third");
  // The answer of a delegated request goes straight to the client.
  BOOST_TEST(ask<int>(c.client->system(), c.hub, forward_atom_v, handle, 5).value.value() == 50);
}

BOOST_DATA_TEST_CASE(a_request_may_be_delegated_back_to_where_it_came_from, data::make(setups), setup) {
  company c(setup);
  const auto mine = c.client->spawn([](event_based_actor*) -> behavior { return {[](int x) { return -x; }}; });

  BOOST_TEST(ask<int>(c.client->system(), c.hub, forward_atom_v, actor(mine), 5).value.value() == -5);
}

BOOST_DATA_TEST_CASE(segments_travel_beside_messages, data::make(setups), setup) {
  company c(setup);
  const auto large = filled(3u << 20, 'a');
  const auto small = filled(5000, 'b');
  scoped_actor self{c.client->system()};
  segment first, second;
  std::string text;

  self->request(c.hub, 5s, large, std::string("q"), small)
      .receive(
          [&](segment& x, std::string& s, segment& y) {
            first = x;
            text = s;
            second = y;
          },
          [](error&) {});

  BOOST_TEST(text == "q?");
  BOOST_TEST(std::ranges::equal(first.bytes(), small.bytes()));
  BOOST_TEST(std::ranges::equal(second.bytes(), large.bytes()));
}

BOOST_DATA_TEST_CASE(order_holds_whatever_the_sizes, data::make(setups), setup) {
  company c(setup);
  scoped_actor self{c.client->system()};
  int n = 0;
  for (int round = 0; round < 30; ++round) {
    const std::size_t size = round % 3 == 0 ? 1u << 20 : round % 3 == 1 ? 20'000 : 2'000;
    self->send(c.hub, put_atom_v, n, filled(size, static_cast<char>(n)));
    ++n;
    for (int k = 0; k < 5; ++k, ++n) self->send(c.hub, put_atom_v, numbers{n, 0.5});
  }
  int next = 0, wrong = -1;

  self->request(c.hub, 10s, get_atom_v)
      .receive(
          [&](int count, int out_of_order) {
            next = count;
            wrong = out_of_order;
          },
          [](error&) {});

  BOOST_TEST(next == n);
  BOOST_TEST(wrong == 0);
}

BOOST_DATA_TEST_CASE(monitors_and_links_see_the_end_of_a_remote_actor, data::make(setups), setup) {
  company c(setup);
  const auto there = ask<actor>(c.client->system(), c.hub, spawn_atom_v).value.value();
  scoped_actor self{c.client->system()};
  self->monitor(there);
  const auto linked = c.client->spawn([there](event_based_actor* me) -> behavior {
    me->link_to(there);
    return {[](int x) { return x; }};
  });
  self->monitor(linked);
  BOOST_TEST(ask<int>(c.client->system(), linked, 1).value.value() == 1);

  self->send(there, close_atom_v);

  for (int i = 0; i < 2; ++i) {
    error reason;
    self->receive([&](down_msg& down) { reason = down.reason; }, after(5s) >> [] {});
    BOOST_TEST((reason == exit_reason::user_shutdown));
  }
  BOOST_TEST((ask<int>(c.client->system(), there, 1).error == sec::request_receiver_down));
}

BOOST_DATA_TEST_CASE(a_link_takes_the_remote_actor_along, data::make(setups), setup) {
  company c(setup);
  const auto there = ask<actor>(c.client->system(), c.hub, spawn_atom_v).value.value();
  const auto linked = c.client->spawn([there](event_based_actor* me) -> behavior {
    me->link_to(there);
    return {[](int x) { return x; }};
  });
  BOOST_TEST(ask<int>(c.client->system(), linked, 1).value.value() == 1);
  // Until the other side has asked to be told of the end of `linked`, that may come without its reason.
  for (int i = 0; i < 10; ++i) BOOST_TEST(ask<int>(c.client->system(), there, i).value.value() == i + 1);
  scoped_actor self{c.client->system()};
  self->monitor(there);

  anon_send_exit(linked, exit_reason::user_shutdown);

  error reason;
  self->receive([&](down_msg& down) { reason = down.reason; }, after(5s) >> [] {});
  BOOST_TEST((reason == exit_reason::user_shutdown));
}

BOOST_DATA_TEST_CASE(the_end_of_a_process_is_told_to_monitors_and_to_whoever_waits, data::make(setups), setup) {
  company c(setup);
  const auto there = ask<actor>(c.client->system(), c.hub, spawn_atom_v).value.value();
  scoped_actor self{c.client->system()};
  self->monitor(there);
  self->monitor(c.hub);
  error pending;
  auto waiting = self->request(c.hub, infinite, tick_atom_v);
  BOOST_TEST(ask<int>(c.client->system(), there, 1).value.value() == 2);

  c.server.reset();

  waiting.receive([](int) {}, [&](error& e) { pending = e; });
  BOOST_TEST((pending == sec::request_receiver_down));
  for (int i = 0; i < 2; ++i) {
    bool told = false;
    self->receive([&](down_msg&) { told = true; }, after(5s) >> [] {});
    BOOST_TEST(told);
  }
  BOOST_TEST((ask<int>(c.client->system(), c.hub, 1).error == sec::request_receiver_down));
  BOOST_TEST(c.client->bridge().open_request_count() == 0u);
}

BOOST_DATA_TEST_CASE(a_remote_group_can_be_joined, data::make(setups), setup) {
  company c(setup);
  const auto news = c.server->system().groups().get_local("news");
  c.server->bridge().publish(c.server->spawn([news](event_based_actor* self) -> behavior {
    return {[news](get_atom) { return news; },
            [self, news](publish_atom, int count) {
              for (int i = 0; i < count; ++i) self->send(news, i);
            }};
  }),
                             "press");
  const auto press = c.client->reach(*c.server, "press");
  const auto group = ask<caf::group>(c.client->system(), press, get_atom_v).value.value();
  const auto member = c.client->spawn(counter);
  const auto seen = [&] {
    int out = -1;
    scoped_actor self{c.client->system()};
    self->request(member, 5s, get_atom_v).receive([&](int n, int) { out = n; }, [](error&) {});
    return out;
  };
  const auto joined = c.client->spawn([group, member](event_based_actor* self) -> behavior {
    self->join(group);
    return {[self, member](int i) { self->send(member, i); }, [](ok_atom) { return ok_atom_v; }};
  });
  BOOST_REQUIRE(ask<ok_atom>(c.client->system(), joined, ok_atom_v).value.has_value());

  // Joining is a message of its own kind to the group's broker; news before it are not seen.
  BOOST_TEST(comes_true([&] { return anon_send(press, publish_atom_v, 1), seen() > 0; }));
  const auto before = seen();
  anon_send(press, publish_atom_v, 50);
  BOOST_TEST(comes_true([&] { return seen() >= before + 50; }));
  scoped_actor self{c.client->system()};
  const auto then = seen();
  self->send(group, 1);
  BOOST_TEST(comes_true([&] { return seen() > then; }));
}

BOOST_DATA_TEST_CASE(a_process_spawns_in_another_one, data::make(setups), setup) {
  company c(setup);
  c.server->bridge().publish(actor_cast<actor>(c.server->system().spawn_serv()), "SpawnServ");
  const auto spawner = c.client->reach(*c.server, "SpawnServ");
  const auto spawn = [&](const char* type, const message& arguments) {
    return ask<strong_actor_ptr>(c.client->system(), spawner, spawn_atom_v, std::string(type), arguments,
                                 std::set<std::string>{});
  };

  const auto made = spawn("adder", make_message(100));
  BOOST_REQUIRE(made.value.has_value());
  const auto far = actor_cast<actor>(*made.value);
  BOOST_TEST(to_string(far.node()) == to_string(c.server->system().node()));
  BOOST_TEST(ask<int>(c.client->system(), far, 5).value.value() == 105);
  anon_send_exit(far, exit_reason::kill);

  BOOST_TEST(!spawn("no such type", make_message()).value.has_value());
}

BOOST_DATA_TEST_CASE(only_pinned_actors_run_in_the_progress_thread, data::make(setups), setup) {
  company c(setup);
  std::atomic<std::uint64_t> progress{0};
  c.server->bridge().wire().post([&] { progress = reinterpret_cast<std::uint64_t>(pthread_self()); });
  BOOST_REQUIRE(comes_true([&] { return progress != 0; }));

  const auto thread = ask<std::uint64_t>(c.client->system(), c.hub, sys_atom_v).value.value();

  BOOST_TEST((thread == progress) == setup.pinned);
}

BOOST_AUTO_TEST_SUITE_END()
