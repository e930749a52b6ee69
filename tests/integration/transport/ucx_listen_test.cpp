#include "tests/support/transport_rig.hpp"

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

BOOST_AUTO_TEST_SUITE_END()
