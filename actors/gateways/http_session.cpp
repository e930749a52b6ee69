#include "actors/gateways/http_session.hpp"

#include "runtime/core/limits.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
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

openai::api_error refusal_of(beast::error_code why) {
  if (why == http::error::body_limit) return refusal(413, "the body is too large", "body_too_large");
  if (why == http::error::header_limit) return refusal(431, "the headers are too large", "headers_too_large");
  return refusal(400, "this is not HTTP/1.1", "bad_http");
}

/// Pages in a browser can send any other type to a local server without asking it first.
bool is_json(std::string_view content_type) {
  auto type = content_type.substr(0, content_type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return beast::iequals(type, "application/json");
}

} // namespace

http_session::http_session(http_house& house, asio::ip::tcp::socket socket)
    : house_(house), stream_(std::move(socket)), buffer_(4 * limits::http_header_bytes_max) {
  beast::error_code ignored;
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

void http_session::close() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->stream_.close(); });
}

asio::awaitable<void> http_session::run() {
  for (bool open = true; open;) {
    open = co_await wait_for_request();
    if (open) open = co_await serve_one();
  }
  co_await linger();
}

asio::awaitable<void> http_session::refuse() {
  co_await send(to_reply(openai::to_api_error({errc::disconnected, "too many connections"})));
  co_await linger();
}

asio::awaitable<bool> http_session::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  stream_.expires_after(limits::http_idle_timeout);
  const auto [failed, size] = co_await stream_.async_read_some(buffer_.prepare(read_bytes), no_throw);
  buffer_.commit(size);
  co_return !failed;
}

asio::awaitable<bool> http_session::serve_one() {
  parser in;
  if (!co_await read_header(in)) co_return false;
  const auto route = check_header(in);
  if (!route) {
    keep_alive_ = keep_alive_ && in.is_done(); // an unread body would be taken for the next request
    co_return co_await send(to_reply(route.error()));
  }
  if (!co_await read_body(in)) co_return false;
  const auto where = (*route)->where;
  const std::string target(in.get().target()), body = std::move(in.get().body());
  if (where == route::chat_completions) co_return co_await complete(openai::endpoint::chat_completions, body);
  if (where == route::completions) co_return co_await complete(openai::endpoint::completions, body);
  auto reply = co_await on_worker([&] { return answer_simple(where, target, body, house_.context()); });
  co_return co_await send(std::move(reply));
}

asio::awaitable<bool> http_session::read_header(parser& in) {
  in.header_limit(limits::http_header_bytes_max);
  in.body_limit(limits::http_body_bytes_max);
  const auto number = ++house_.requests;
  request_id_ = request_id_of({}, number);
  stream_.expires_after(limits::http_read_timeout);
  const auto [failed, size] = co_await http::async_read_header(stream_, buffer_, in, no_throw);
  if (failed) co_return co_await refuse_input(failed);
  const auto& head = in.get();
  version_ = head.version();
  keep_alive_ = head.keep_alive() && !house_.draining;
  request_id_ = request_id_of(head["x-request-id"], number);
  co_return true;
}

/// Who and what, before any body is read; strangers learn nothing about paths.
openai::reply<const http_route*> http_session::check_header(const parser& in) const {
  const auto& head = in.get();
  if (std::distance(head.begin(), head.end()) > limits::http_fields_max)
    return refusal(431, "too many header fields", "headers_too_large");
  if (head.version() == 11 && head.count(http::field::host) != 1)
    return refusal(400, "one Host header is needed", "bad_http");
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
  const auto [failed, size] = co_await http::async_read(stream_, buffer_, in, no_throw);
  if (failed) co_return co_await refuse_input(failed);
  co_return true;
}

/// A client that is gone or silent gets no answer.
asio::awaitable<bool> http_session::refuse_input(beast::error_code why) {
  keep_alive_ = false;
  const bool spoke = why.category() == make_error_code(http::error::bad_method).category() &&
                     why != http::error::end_of_stream && why != http::error::partial_message;
  if (spoke) co_await send(to_reply(refusal_of(why)));
  co_return false;
}

asio::awaitable<bool> http_session::send(http_reply reply) {
  http::response<http::string_body> message(static_cast<http::status>(reply.status), version_);
  set_common(message, reply.content_type);
  if (reply.status == 401) message.set(http::field::www_authenticate, "Bearer");
  if (reply.retry_after_s > 0) message.set(http::field::retry_after, std::to_string(reply.retry_after_s));
  message.body() = std::move(reply.body);
  message.prepare_payload();
  stream_.expires_after(limits::http_write_timeout);
  const auto [failed, size] = co_await http::async_write(stream_, message, no_throw);
  co_return !failed && keep_alive_;
}

/// Takes what the client still sends: closing on unread bytes would destroy the answer on its way.
asio::awaitable<void> http_session::linger() {
  beast::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.expires_after(limits::http_linger);
  for (std::size_t taken = 0; taken < limits::http_body_bytes_max;) {
    buffer_.clear();
    const auto [failed, size] = co_await stream_.async_read_some(buffer_.prepare(read_bytes), no_throw);
    if (failed) break;
    taken += size;
  }
  stream_.close();
}

} // namespace troupe
