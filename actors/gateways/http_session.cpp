#include "actors/gateways/http_session.hpp"

#include "runtime/core/limits.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/write.hpp>

#include <utility>

namespace troupe {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_bytes = 4096;

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
