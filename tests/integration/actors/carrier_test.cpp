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

using namespace troupe;

namespace {

struct node {
  system_config config{reach::network};
  caf::actor_system system{config};
  std::unique_ptr<net::carrier> carrier = net::make_carrier(system);
};

caf::behavior doubler() {
  return {[](int x) { return 2 * x; }};
}

} // namespace

BOOST_AUTO_TEST_SUITE(carrier)

BOOST_AUTO_TEST_CASE(an_actor_is_reached_by_the_address_it_was_published_at) {
  node server, client;
  const auto actor = server.system.spawn(doubler);
  const auto address = server.carrier->publish(actor, "127.0.0.1", 0);
  BOOST_REQUIRE(address);

  const auto peer = client.carrier->connect(*address);

  BOOST_REQUIRE(peer);
  int answer = 0;
  caf::scoped_actor self{client.system};
  self->request(*peer, limits::rpc_timeout, 21).receive([&](int x) { answer = x; }, [](const caf::error&) {});
  BOOST_TEST(answer == 42);
  caf::anon_send_exit(actor, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_remote_actor_reaches_its_monitors) {
  node server, client;
  const auto actor = server.system.spawn(doubler);
  const auto address = server.carrier->publish(actor, "127.0.0.1", 0);
  const auto peer = client.carrier->connect(*address);
  BOOST_REQUIRE(peer);
  caf::scoped_actor self{client.system};
  self->monitor(*peer);

  caf::anon_send_exit(actor, caf::exit_reason::kill);

  bool told = false;
  self->receive([&](const caf::down_msg&) { told = true; }, caf::after(limits::rpc_timeout) >> [] {});
  BOOST_TEST(told);
}

BOOST_AUTO_TEST_CASE(addresses_that_lead_nowhere_are_errors) {
  node client;

  const auto malformed = client.carrier->connect("127.0.0.1:1");
  const auto without_port = client.carrier->connect("basp://127.0.0.1:");
  const auto nobody = client.carrier->connect("basp://127.0.0.1:1");

  BOOST_REQUIRE(!malformed);
  BOOST_REQUIRE(!without_port);
  BOOST_REQUIRE(!nobody);
  BOOST_TEST(malformed.error().message == "address \"127.0.0.1:1\": expected basp://host:port");
  BOOST_TEST(int(nobody.error().code) == int(errc::disconnected));
}

BOOST_AUTO_TEST_CASE(a_port_that_is_taken_is_an_error_that_names_it) {
  node first, second;
  const auto actor = first.system.spawn(doubler);
  const auto other = second.system.spawn(doubler);
  const auto address = first.carrier->publish(actor, "127.0.0.1", 0);
  BOOST_REQUIRE(address);
  const auto port = address->substr(address->rfind(':') + 1);

  const auto again = second.carrier->publish(other, "127.0.0.1", static_cast<std::uint16_t>(std::stoi(port)));

  BOOST_REQUIRE(!again);
  BOOST_TEST(again.error().message.starts_with("cannot bind 127.0.0.1:" + port + ": "));
  caf::anon_send_exit(actor, caf::exit_reason::kill);
  caf::anon_send_exit(other, caf::exit_reason::kill);
}

BOOST_AUTO_TEST_SUITE_END()
