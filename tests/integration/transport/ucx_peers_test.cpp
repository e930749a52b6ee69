// How connections begin and end, with friends, strangers and nobody.
#include "tests/support/transport_rig.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/net/peer_uri.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/data/test_case.hpp>

#include <filesystem>
#include <thread>

using namespace troupe;
using namespace troupe::testing;
using boost::asio::ip::tcp;

BOOST_AUTO_TEST_SUITE(ucx_peers)

const auto networks = boost::unit_test::data::make({"tcp", "posix,sysv,cma"});

namespace {

/// A client that knows nothing of the protocol.
struct stranger {
  explicit stranger(const std::string& uri) {
    const auto to = net::parse_peer_uri(uri).value();
    socket.connect({boost::asio::ip::make_address(to.host), to.port});
  }
  void say(const std::string& text) {
    boost::system::error_code hung_up;
    boost::asio::write(socket, boost::asio::buffer(text), hung_up);
  }
  /// Everything until the other side hangs up.
  std::string hear_all() {
    std::string out;
    boost::system::error_code ended;
    boost::asio::read(socket, boost::asio::dynamic_buffer(out), ended);
    return out;
  }

  boost::asio::io_context io;
  tcp::socket socket{io};
};

std::size_t descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace

BOOST_DATA_TEST_CASE(two_that_dial_each_other_at_once_get_one_connection, networks, network) {
  for (int round = 0; round < 20; ++round) {
    node a(network);
    node b(network);

    std::thread other([&] { BOOST_TEST(b.transport->connect(a.transport->uri()).has_value()); });
    const auto to_b = a.transport->connect(b.transport->uri());
    other.join();
    const auto up_at_a = a.heard.wait_up(b.transport->uri());
    const auto up_at_b = b.heard.wait_up(a.transport->uri());
    BOOST_REQUIRE((up_at_a.has_value() && up_at_b.has_value()));
    BOOST_TEST((*up_at_a == *to_b));
    BOOST_REQUIRE(a.send(*up_at_a, "from a").has_value());
    BOOST_REQUIRE(b.send(*up_at_b, "from b").has_value());

    BOOST_TEST(a.heard.wait_frame()->meta == "from b");
    BOOST_TEST(b.heard.wait_frame()->meta == "from a");
    BOOST_TEST(a.heard.up_count() == 1u);
    BOOST_TEST(b.heard.up_count() == 1u);
    BOOST_TEST(a.heard.down_count() + b.heard.down_count() == 0u);
  }
}

BOOST_DATA_TEST_CASE(a_peer_that_left_is_another_one_when_it_is_reached_again, networks, network) {
  node a(network);
  net::peer_id first;
  auto how = options_for(network);
  {
    node b(how);
    first = a.connected_to(b);
    how.port = net::parse_peer_uri(b.transport->uri())->port;
  }
  BOOST_REQUIRE(a.heard.wait_down(first).has_value());
  BOOST_TEST((a.send(first, "too late").error().code == errc::disconnected));

  node again(how);
  const auto second = a.connected_to(again);

  BOOST_TEST((second != first));
  BOOST_REQUIRE(a.send(second, "hello again").has_value());
  BOOST_TEST(again.heard.wait_frame()->meta == "hello again");
  BOOST_TEST(a.heard.down_count() == 1u);
}

BOOST_AUTO_TEST_CASE(where_nobody_listens_the_peer_goes_down) {
  node a("tcp");
  std::string dead;
  { dead = node("tcp").transport->uri(); }

  const auto peer = a.transport->connect(dead);
  BOOST_REQUIRE(peer.has_value());
  (void)a.send(*peer, "into the void");

  const auto why = a.heard.wait_down(*peer);
  BOOST_REQUIRE(why.has_value());
  BOOST_TEST((why->code == errc::disconnected));
  BOOST_TEST(a.heard.up_count() == 0u);
}

BOOST_AUTO_TEST_CASE(a_malformed_address_is_refused_at_once) {
  node a("tcp");

  for (const auto* const uri :
       {"", "ucx://", "ucx://host", "ucx://host:0/x", "ucx://host:99999/x", "basp://h:1/x", "a b"})
    BOOST_TEST((a.transport->connect(uri).error().code == errc::bad_input), uri);
  BOOST_TEST((a.transport->connect(a.transport->uri()).error().code == errc::bad_input));
}

BOOST_AUTO_TEST_CASE(another_process_at_the_port_of_a_dead_one_is_not_taken_for_it) {
  node a("tcp");
  node b("tcp");
  auto uri = net::parse_peer_uri(b.transport->uri()).value();
  uri.uid = "0123456789abcdef";

  const auto peer = a.transport->connect(to_string(uri));

  BOOST_REQUIRE(a.heard.wait_down(*peer).has_value());
  BOOST_TEST(b.heard.up_count() == 0u);
}

BOOST_AUTO_TEST_CASE(an_address_without_uid_reaches_whoever_is_there) {
  node a("tcp");
  node b("tcp");
  auto uri = net::parse_peer_uri(b.transport->uri()).value();
  uri.uid.clear();

  const auto peer = a.transport->connect(to_string(uri));
  BOOST_REQUIRE(a.heard.wait_up(b.transport->uri()).has_value());
  BOOST_REQUIRE(a.send(*peer, "found you").has_value());

  BOOST_TEST(b.heard.wait_frame()->meta == "found you");
  BOOST_TEST((a.transport->connect(b.transport->uri()).value() == *peer));
}

BOOST_AUTO_TEST_CASE(another_secret_keeps_a_process_out) {
  node a("tcp");
  auto other = options_for("tcp");
  other.secret = net::cluster_secret("some other secret, quite as long");
  node b(other);

  const auto peer = b.transport->connect(a.transport->uri());

  const auto why = b.heard.wait_down(*peer);
  BOOST_REQUIRE(why.has_value());
  BOOST_TEST((why->code == errc::bad_input));
  BOOST_TEST(a.heard.up_count() + b.heard.up_count() == 0u);
}

BOOST_AUTO_TEST_CASE(garbage_is_hung_up_on_and_silence_hinders_nobody) {
  node a("tcp");
  stranger silent(a.transport->uri());
  stranger loud(a.transport->uri());
  stranger web(a.transport->uri());

  loud.say(std::string(100'000, '\xff'));
  web.say("GET / HTTP/1.1\r\nHost: troupe\r\n\r\nand so on, until this is longer than any hello");
  loud.hear_all();
  web.hear_all();
  node b("tcp");
  const auto to_a = b.connected_to(a);

  BOOST_REQUIRE(b.send(to_a, "fine").has_value());
  BOOST_TEST(a.heard.wait_frame()->meta == "fine");
  silent.hear_all(); // until the deadline of the handshake
  BOOST_TEST(a.heard.up_count() == 1u);
}

BOOST_DATA_TEST_CASE(nothing_is_left_open_behind_a_transport, networks, network) {
  { node warm_up(network); }
  const auto before = descriptors();
  for (int round = 0; round < 5; ++round) {
    node a(network);
    node b(network);
    const auto to_b = a.connected_to(b);
    BOOST_REQUIRE(a.send(to_b, "x", {segment::allocate(100'000)}).has_value());
    BOOST_REQUIRE(b.heard.wait_frame().has_value());
  }
  BOOST_TEST(descriptors() == before);
}

BOOST_AUTO_TEST_SUITE_END()
