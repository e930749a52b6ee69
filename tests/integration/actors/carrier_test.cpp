// Two actor systems on loopback: what the carrier promises to everything above it.
#include "actors/system_config.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/net/carrier.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/system_messages.hpp>

#include <cstdlib>
#include <string>

using namespace troupe;

namespace {

struct cluster_member {
  explicit cluster_member(std::string secret = "a secret of the tests") {
    ::setenv("TROUPE_CLUSTER_SECRET", secret.c_str(), 1);
  }
};

struct node : cluster_member {
  using cluster_member::cluster_member;
  system_config config{reach::network};
  caf::actor_system system{config};
  net::carrier carrier{system};
};

caf::behavior doubler() {
  return {[](int x) { return 2 * x; }};
}

} // namespace

BOOST_AUTO_TEST_SUITE(carrier)

BOOST_AUTO_TEST_CASE(an_actor_is_reached_by_the_address_it_was_published_at) {
  node server, client;
  const auto actor = server.system.spawn(doubler);
  const auto address = server.carrier.publish(actor, "doubler");

  const auto peer = client.carrier.connect(address);

  BOOST_REQUIRE(peer.has_value());
  int answer = 0;
  caf::scoped_actor self{client.system};
  self->request(*peer, limits::rpc_timeout, 21).receive([&](int x) { answer = x; }, [](const caf::error&) {});
  BOOST_TEST(answer == 42);
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_remote_actor_reaches_its_monitors) {
  node server, client;
  const auto actor = server.system.spawn(doubler);
  const auto peer = client.carrier.connect(server.carrier.publish(actor, "doubler"));
  BOOST_REQUIRE(peer.has_value());
  caf::scoped_actor self{client.system};
  self->monitor(*peer);

  caf::anon_send_exit(actor, caf::exit_reason::kill);

  bool told = false;
  self->receive([&](const caf::down_msg&) { told = true; }, caf::after(limits::rpc_timeout) >> [] {});
  BOOST_TEST(told);
}

BOOST_AUTO_TEST_CASE(addresses_that_lead_nowhere_are_errors) {
  node server, client;
  const auto actor = server.system.spawn(doubler);
  const auto address = server.carrier.publish(actor, "doubler");

  const auto malformed = client.carrier.connect("127.0.0.1:1");
  const auto without_port = client.carrier.connect("ucx://127.0.0.1:/name");
  const auto nobody = client.carrier.connect("ucx://127.0.0.1:1/name");
  const auto other_name = client.carrier.connect(address + "s");

  BOOST_REQUIRE(!malformed.has_value());
  BOOST_REQUIRE(!without_port.has_value());
  BOOST_REQUIRE(!nobody.has_value());
  BOOST_REQUIRE(!other_name.has_value());
  BOOST_TEST(malformed.error().message == "address \"127.0.0.1:1\": expected ucx://host:port/uid/name");
  BOOST_TEST(int(nobody.error().code) == int(errc::disconnected));
  BOOST_TEST(int(other_name.error().code) == int(errc::not_found));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_CASE(a_port_that_is_taken_is_an_error_that_names_it) {
  node first;
  const auto actor = first.system.spawn(doubler);
  const auto address = first.carrier.publish(actor, "doubler");
  const auto begin = address.rfind(':') + 1;
  const auto port = static_cast<std::uint16_t>(std::stoi(address.substr(begin)));

  std::string why;
  try {
    system_config second(reach::network, 1, {.port = port});
  } catch (const std::exception& e) {
    why = e.what();
  }

  BOOST_TEST(why.find("127.0.0.1:" + std::to_string(port)) != why.npos, why);
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_CASE(who_does_not_know_the_cluster_secret_is_not_let_in) {
  node server;
  node stranger("another secret of the tests");
  const auto actor = server.system.spawn(doubler);

  const auto peer = stranger.carrier.connect(server.carrier.publish(actor, "doubler"));

  BOOST_REQUIRE(!peer.has_value());
  BOOST_TEST(int(peer.error().code) == int(errc::disconnected));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_SUITE_END()
