#include "runtime/net/peer_uri.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::net;

BOOST_AUTO_TEST_SUITE(peer_uri)

BOOST_AUTO_TEST_CASE(an_address_is_read_and_written_again) {
  for (const auto* const text : {"ucx://127.0.0.1:80/0123", "ucx://node-7.rack:65535", "ucx://[::1]:9000/x/y"}) {
    const auto uri = parse_peer_uri(text);
    BOOST_TEST_REQUIRE(uri.has_value(), text);
    BOOST_TEST(to_string(*uri) == text);
  }
  BOOST_TEST(parse_peer_uri("ucx://[::1]:9000/x")->host == "[::1]");
}

BOOST_AUTO_TEST_CASE(what_is_no_address_is_refused_in_one_line) {
  for (const std::string text : {"", "x", "ucx://", "://h:1", "ucx://h", "ucx://:1", "ucx://h:", "ucx://h:0",
                                 "ucx://h:1x", "ucx://h:65536", "ucx://h:-1", "ucx://h :1", "ucx://h\n:1"}) {
    const auto uri = parse_peer_uri(text);
    BOOST_TEST_REQUIRE(!uri.has_value(), text);
    BOOST_TEST((uri.error().code == errc::bad_input));
    BOOST_TEST((uri.error().message.find('\n') == std::string::npos));
  }
  BOOST_TEST(!parse_peer_uri("ucx://" + std::string(1'000, 'h') + ":1").has_value());
}

BOOST_AUTO_TEST_CASE(no_two_uids_are_the_same) { BOOST_TEST(fresh_uid() != fresh_uid()); }

BOOST_AUTO_TEST_SUITE_END()
