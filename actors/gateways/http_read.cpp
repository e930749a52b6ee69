// The part of http_session that takes requests in: what is too slow, too large or ambiguous ends here.
#include "actors/gateways/http_head.hpp"
#include "actors/gateways/http_session.hpp"
#include "runtime/core/limits.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

namespace troupe {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_bytes = 4096;

/// The client's own, if it can stand in a header and in a log line.
std::string request_id_of(std::string_view given, std::uint64_t number) {
  const bool plain = std::all_of(given.begin(), given.end(), [](char c) { return c > ' ' && c < 0x7f; });
  const bool fits = !given.empty() && given.size() <= limits::request_id_bytes_max;
  return plain && fits ? std::string(given) : "req-" + std::to_string(number);
}

openai::api_error refusal(int status, std::string message, std::string code) {
  return {.status = status, .message = std::move(message), .code = std::move(code)};
}

openai::api_error bad_http(std::string_view fault) { return refusal(400, std::string(fault), "bad_http"); }

openai::api_error refusal_of(beast::error_code why) {
  if (why == http::error::body_limit) return refusal(413, "the body is too large", "body_too_large");
  if (why == http::error::header_limit) return refusal(431, "the headers are too large", "headers_too_large");
  return bad_http("this is not HTTP/1.1");
}

/// Pages in a browser can send any other type to a local server without asking it first.
bool is_json(std::string_view content_type) {
  auto type = content_type.substr(0, content_type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return beast::iequals(type, "application/json");
}

} // namespace

asio::awaitable<bool> http_session::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  stream_.expires_after(limits::http_idle_timeout);
  const auto [failed, size] = co_await stream_.async_read_some(buffer_.prepare(read_bytes), no_throw);
  buffer_.commit(size);
  co_return !failed;
}

asio::awaitable<bool> http_session::read_header(parser& in) {
  in.header_limit(limits::http_header_bytes_max);
  in.body_limit(limits::http_body_bytes_max);
  const auto number = ++house_.requests;
  request_id_ = request_id_of({}, number);
  const auto size = co_await read_head_bytes();
  if (size == 0) co_return false;
  if (size > limits::http_header_bytes_max) co_return co_await refuse_input(http::error::header_limit);
  if (const auto fault = fault_of_bytes(unread().substr(0, size)); !fault.empty())
    co_return co_await refuse_input(bad_http(fault));
  beast::error_code failed;
  buffer_.consume(in.put(asio::buffer(buffer_.cdata().data(), size), failed));
  if (failed) co_return co_await refuse_input(failed);
  const auto& head = in.get();
  version_ = head.version();
  keep_alive_ = head.keep_alive() && !house_.draining;
  request_id_ = request_id_of(head["x-request-id"], number);
  if (const auto fault = fault_of_framing(head); !fault.empty()) co_return co_await refuse_input(bad_http(fault));
  co_return true;
}

/// Fills the buffer until it begins with a whole head and returns its size; beyond the limit, whatever has come. 0: the
/// client is gone or too slow.
asio::awaitable<std::size_t> http_session::read_head_bytes() {
  stream_.expires_after(house_.options.patience.head);
  for (std::size_t seen = 0;;) {
    const auto end = end_of_head(unread(), seen);
    if (end != std::string_view::npos) co_return end;
    if (buffer_.size() > limits::http_header_bytes_max) co_return buffer_.size();
    seen = buffer_.size() - std::min<std::size_t>(buffer_.size(), 2); // an end may begin with the last two
    const auto [failed, size] = co_await stream_.async_read_some(buffer_.prepare(read_bytes), no_throw);
    buffer_.commit(size);
    if (failed) co_return 0;
  }
}

std::string_view http_session::unread() const {
  return {static_cast<const char*>(buffer_.cdata().data()), buffer_.size()};
}

/// Who and what, before any body is read; strangers learn nothing about paths.
openai::reply<const http_route*> http_session::check_header(const parser& in) const {
  const auto& head = in.get();
  if (std::distance(head.begin(), head.end()) > limits::http_fields_max)
    return refusal(431, "too many header fields", "headers_too_large");
  if (head.version() == 11 && head.count(http::field::host) != 1) return bad_http("one Host header is needed");
  const auto found = find_route(head.method(), head.target());
  const bool open = found && !(*found)->needs_key;
  if (!open && !house_.keys.accept(head[http::field::authorization]))
    return openai::api_error{.status = 401,
                             .message = "a valid API key is needed: Authorization: Bearer KEY",
                             .type = "authentication_error",
                             .code = "invalid_api_key"};
  if (found && head.method() == http::verb::post && !is_json(head[http::field::content_type]))
    return refusal(415, "Content-Type must be application/json", "unsupported_media_type");
  return found;
}

asio::awaitable<bool> http_session::read_body(parser& in) {
  if (in.is_done()) co_return true;
  if (beast::iequals(in.get()[http::field::expect], "100-continue")) {
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(stream_, asio::buffer(go_on), no_throw);
  }
  in.eager(true);
  const auto& patience = house_.options.patience;
  const auto last_call = std::chrono::steady_clock::now() + patience.body;
  while (!in.is_done()) {
    stream_.expires_at(std::min(last_call, std::chrono::steady_clock::now() + patience.body_window));
    for (std::size_t taken = 0; !in.is_done() && taken < limits::http_body_window_bytes;) {
      const auto [failed, size] = co_await http::async_read_some(stream_, buffer_, in, no_throw);
      if (failed) co_return co_await refuse_input(failed);
      taken += size;
    }
  }
  co_return true;
}

asio::awaitable<bool> http_session::refuse_input(openai::api_error why) {
  keep_alive_ = false; // where the next request begins is not known
  co_return co_await send(to_reply(why));
}

/// A client that is gone or silent gets no answer.
asio::awaitable<bool> http_session::refuse_input(beast::error_code why) {
  const bool spoke = why.category() == make_error_code(http::error::bad_method).category() &&
                     why != http::error::end_of_stream && why != http::error::partial_message;
  if (!spoke) co_return false;
  co_return co_await refuse_input(refusal_of(why));
}

} // namespace troupe
