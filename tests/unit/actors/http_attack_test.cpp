// Raw bytes that Boost.Beast alone would let through, or wait for (operations.md, "Parser attacks"): each is refused
// with 400 and the end of the connection, so that nothing behind it is taken for a second request.
#include "actors/gateways/http_head.hpp"
#include "runtime/core/limits.hpp"
#include "tests/support/http_rig.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <thread>

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

const std::string host = "Host: localhost\r\n";
const std::string json_type = "Content-Type: application/json\r\n";
const std::string smuggled = "GET /version HTTP/1.1\r\n" + host + "\r\n";

/// A request to /tokenize with these lines more in its head.
std::string post(const std::string& lines, const std::string& body = {}) {
  return "POST /tokenize HTTP/1.1\r\n" + host + json_type + lines + "\r\n" + body;
}

struct outcome {
  int status = 0;
  std::string message;
  bool closed = false;
};

/// What the server says to `bytes`, with a second request behind them.
outcome attack(http_rig& rig, const std::string& bytes) {
  http_caller caller(rig.gateway->port());
  caller.write_raw(bytes + smuggled);
  const auto answer = caller.receive();
  const auto body = json::parse(answer.body());
  const auto* error = body.as_object().if_contains("error");
  outcome out{static_cast<int>(answer.result_int()), {}, false};
  if (error == nullptr) return out;
  out.message = error->at("message").as_string();
  out.closed = !answer.keep_alive() && caller.is_at_end();
  return out;
}

std::string message_of(http_rig& rig, const std::string& bytes) {
  const auto seen = attack(rig, bytes);
  BOOST_TEST(seen.status == 400, bytes);
  BOOST_TEST(seen.closed, bytes);
  return seen.message;
}

http_rig impatient_rig() {
  http_gateway_options options;
  options.patience = {.head = 300ms, .body_window = 500ms, .body = 1500ms};
  return http_rig(options);
}

} // namespace

BOOST_AUTO_TEST_SUITE(http_attack)

BOOST_AUTO_TEST_CASE(honest_requests_of_both_framings_are_answered) {
  http_rig rig;
  BOOST_TEST(attack(rig, post("Content-Length: 16\r\n", R"({"prompt":"abc"})")).status == 200);
  BOOST_TEST(attack(rig, post("Transfer-Encoding: chunked\r\n", "10\r\n{\"prompt\":\"abc\"}\r\n0\r\n\r\n")).status ==
             200);
  BOOST_TEST(
      attack(rig, post("transfer-encoding:\tCHUNKED \r\n", "8\r\n{\"prompt\r\n8;x=y\r\n\":\"abc\"}\r\n0\r\n\r\n"))
          .status == 200);
}

BOOST_AUTO_TEST_CASE(one_header_says_where_the_body_ends) {
  http_rig rig;
  const std::string chunked = "Transfer-Encoding: chunked\r\n", two = "Content-Length: 2\r\n",
                    bad = "this is not HTTP/1.1";
  BOOST_TEST(message_of(rig, post(chunked + two, "0\r\n\r\n")) == bad);
  BOOST_TEST(message_of(rig, post(two + chunked, "0\r\n\r\n")) == bad);
  BOOST_TEST(message_of(rig, post(two + two, "{}")) == "more than one Content-Length");
  BOOST_TEST(message_of(rig, post(two + "Content-Length: 3\r\n", "{} ")) == bad);
  BOOST_TEST(message_of(rig, post("Content-Length: 2, 2\r\n", "{}")) == "Content-Length is not a number");
  for (const std::string length : {"+2", "-2", "0x2", "2.0", "", "18446744073709551616", "2 2", "two"})
    BOOST_TEST(message_of(rig, post("Content-Length: " + length + "\r\n", "{}")) == bad);
}

BOOST_AUTO_TEST_CASE(transfer_encoding_is_chunked_once_and_exactly) {
  http_rig rig;
  const auto with = [&](const std::string& lines) { return message_of(rig, post(lines, "0\r\n\r\n")); };
  const std::string inexact = "Transfer-Encoding is not chunked", chunked = "Transfer-Encoding: chunked\r\n";
  BOOST_TEST(with("Transfer-Encoding: gzip\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: gzip, chunked\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: chunked, identity\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: chunked;q=1\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: xchunked\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: \"chunked\"\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding:\r\n") == inexact);
  BOOST_TEST(with("Transfer-Encoding: identity\r\n" + chunked) == "more than one Transfer-Encoding");
  BOOST_TEST(with(chunked + chunked) == "this is not HTTP/1.1");
  BOOST_TEST(message_of(rig, "POST /tokenize HTTP/1.0\r\n" + json_type + chunked + "\r\n0\r\n\r\n") ==
             "Transfer-Encoding before HTTP/1.1");
}

BOOST_AUTO_TEST_CASE(chunk_sizes_do_not_overflow) {
  http_rig rig;
  for (const std::string size : {"10000000000000000", "FFFFFFFFFFFFFFFFF", "-1", "0x2", "g", "", " 2", "2 2", "+2"})
    BOOST_TEST(message_of(rig, post("Transfer-Encoding: chunked\r\n", size + "\r\n{}\r\n0\r\n\r\n")) ==
               "this is not HTTP/1.1");
  BOOST_TEST(message_of(rig, post("Transfer-Encoding: chunked\r\n", "2\r\n{}0\r\n\r\n")) == "this is not HTTP/1.1");
  const auto large = attack(rig, post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFF\r\n{}"));
  BOOST_TEST(large.status == 413);
  BOOST_TEST(large.closed);
}

BOOST_AUTO_TEST_CASE(lines_end_in_cr_lf_and_hold_one_field) {
  http_rig rig;
  const std::string line = "Content-Length: 0\r\n", folded = "a header field goes on in the next line";
  BOOST_TEST(message_of(rig, post("X: a\r\n b\r\n" + line)) == folded);
  BOOST_TEST(message_of(rig, post("X: a\r\n\tb\r\n" + line)) == folded);
  BOOST_TEST(message_of(rig, post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")) == folded);
  BOOST_TEST(message_of(rig, post("X : a\r\n" + line)) == "a space before a colon");
  BOOST_TEST(message_of(rig, post("X\r\n" + line)) == "a header field without a name");
  BOOST_TEST(message_of(rig, post(": a\r\n" + line)) == "a header field without a name");
  BOOST_TEST(message_of(rig, post("X: a\n" + line)) == "a line does not end in CR LF");
  BOOST_TEST(message_of(rig, "GET /ping HTTP/1.1\n" + host + "\n") == "a line does not end in CR LF");
  BOOST_TEST(message_of(rig, "\r\n\r\n") == "this is not HTTP/1.1");
  const std::string control = "a control character in the header";
  BOOST_TEST(message_of(rig, post("X: a\rb\r\n" + line)) == control);
  BOOST_TEST(message_of(rig, post(std::string("X: a\0b\r\n", 8) + line)) == control);
  BOOST_TEST(message_of(rig, post(std::string("X\0: a\r\n", 7) + line)) == control);
  BOOST_TEST(message_of(rig, std::string("GET /pi\0ng HTTP/1.1\r\n", 21) + host + "\r\n") == control);
}

BOOST_AUTO_TEST_CASE(there_is_one_host_and_not_too_much_of_everything) {
  http_rig rig;
  const auto ping = [](const std::string& lines) {
    return "GET /ping HTTP/1.1\r\n" + lines + "Connection: close\r\n\r\n";
  };
  BOOST_TEST(message_of(rig, ping("")) == "one Host header is needed");
  BOOST_TEST(message_of(rig, ping(host + "Host: other\r\n")) == "one Host header is needed");
  BOOST_TEST(message_of(rig, ping(host + host)) == "one Host header is needed");
  std::string fields = host;
  for (int i = 2; i < limits::http_fields_max; ++i) fields += "X: y\r\n";
  BOOST_TEST(attack(rig, ping(fields)).status == 200);
  BOOST_TEST(attack(rig, ping(fields + "X: y\r\n")).status == 431);
  const auto endless = attack(rig, "GET /ping HTTP/1.1\r\nX: " + std::string(limits::http_header_bytes_max, 'x'));
  BOOST_TEST(endless.status == 431);
  BOOST_TEST(endless.closed);
}

BOOST_AUTO_TEST_CASE(a_slow_head_ends_the_connection_without_an_answer) {
  auto rig = impatient_rig();
  http_caller silent(rig.gateway->port()), dripping(rig.gateway->port());
  silent.write_raw("GET /ping HTTP/1.1\r\nHost:");
  BOOST_TEST(silent.is_at_end());
  for (const char c : "GET /ping HTTP/1.1 and more"s) {
    if (!dripping.try_write(std::string(1, c))) break;
    std::this_thread::sleep_for(20ms);
  }
  BOOST_TEST(dripping.is_at_end());
}

BOOST_AUTO_TEST_CASE(a_body_below_its_floor_or_beyond_its_time_ends_the_connection) {
  auto rig = impatient_rig();
  const auto head = post("Content-Length: 100000\r\n");
  http_caller slow(rig.gateway->port()), steady(rig.gateway->port());
  slow.write_raw(head + "{");
  BOOST_TEST(slow.is_at_end());
  steady.write_raw(head);
  const auto begin = std::chrono::steady_clock::now();
  while (steady.try_write(std::string(limits::http_body_window_bytes, ' '))) std::this_thread::sleep_for(20ms);
  const auto lasted = std::chrono::steady_clock::now() - begin;
  BOOST_TEST((lasted >= 1000ms), "windows that bring enough are renewed");
  BOOST_TEST(steady.is_at_end());
}

BOOST_AUTO_TEST_CASE(the_end_of_a_head_is_found_in_pieces) {
  const std::string head = "GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
  const auto end = head.find("rest");
  for (std::size_t size = 0; size <= head.size(); ++size) {
    const auto found = end_of_head(std::string_view(head).substr(0, size), size < 4 ? 0 : size - 4);
    if (size < end) BOOST_TEST(found == std::string_view::npos);
    if (size == end) BOOST_TEST(found == end);
  }
  BOOST_TEST(end_of_head("a\n\nb", 0) == 3U);
  BOOST_TEST(end_of_head("", 0) == std::string_view::npos);
}

BOOST_AUTO_TEST_SUITE_END()
