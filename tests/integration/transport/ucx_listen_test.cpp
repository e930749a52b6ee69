#include "runtime/net/ucx/net_devices.hpp"
#include "tests/support/transport_rig.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>

#include <filesystem>

using namespace troupe;
using namespace troupe::testing;

namespace {

std::string refusal_of(const std::string& host) {
  auto how = options_for("tcp");
  how.host = host;
  const auto made = net::make_ucx_transport(how);
  BOOST_REQUIRE(!made.has_value());
  BOOST_TEST((made.error().code == errc::bad_input));
  return made.error().message;
}

} // namespace

BOOST_AUTO_TEST_SUITE(ucx_listen)

BOOST_AUTO_TEST_CASE(a_wildcard_is_refused_because_a_listener_belongs_to_one_interface) {
  for (const auto* const host : {"0.0.0.0", "[::]"})
    BOOST_TEST(refusal_of(host).find("every interface is too many") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_host_that_is_not_here_is_refused_by_name) {
  BOOST_TEST(refusal_of("192.0.2.1").find("cannot listen at 192.0.2.1:0") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(ucx_is_told_the_interface_that_has_the_address) {
  using boost::asio::ip::make_address;
  BOOST_TEST(net::net_devices_for(make_address("127.0.0.1")) == "lo");
  BOOST_TEST(net::net_devices_for(make_address("::1")) == "lo");
  BOOST_TEST(net::net_devices_for(make_address("192.0.2.1")).empty());

  boost::asio::io_context io;
  boost::asio::ip::udp::socket socket(io, boost::asio::ip::udp::v4());
  boost::system::error_code no_route;
  socket.connect({make_address("192.0.2.1"), 9}, no_route); // sends nothing: only asks which address would be used
  if (no_route) return;
  const auto devices = net::net_devices_for(socket.local_endpoint().address());
  BOOST_TEST(std::filesystem::exists("/sys/class/net/" + devices.substr(0, devices.find(','))));
}

BOOST_AUTO_TEST_SUITE_END()
