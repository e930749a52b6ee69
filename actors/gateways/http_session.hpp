// One connection: requests one after the other, each answered whole or as a stream of events. A coroutine on a strand
// of its own; what computes or blocks runs on the house's workers.
#pragma once

#include "actors/gateways/http_handlers.hpp"
#include "actors/gateways/http_house.hpp"
#include "actors/gateways/http_outbox.hpp"
#include "actors/gateways/http_routes.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace troupe {

class http_session : public std::enable_shared_from_this<http_session> {
 public:
  /// The executor of `socket` is a strand. `house` must outlive it.
  http_session(http_house& house, boost::asio::ip::tcp::socket socket);

  /// Serves the connection until either side ends it.
  boost::asio::awaitable<void> run();
  /// For a connection too many: 503, and the end.
  boost::asio::awaitable<void> refuse();
  /// Ends the connection at once. Any thread.
  void close();

 private:
  template <class T>
  using awaitable = boost::asio::awaitable<T>;
  using parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  // http_session.cpp: from request to reply. False, here and below: the connection is to be closed.
  awaitable<bool> serve_one();
  awaitable<bool> send(http_reply reply);
  awaitable<void> linger();

  // http_read.cpp: requests.
  awaitable<bool> wait_for_request();
  awaitable<bool> read_header(parser& in);
  awaitable<std::size_t> read_head_bytes();
  openai::reply<const http_route*> check_header(const parser& in) const;
  awaitable<bool> read_body(parser& in);
  awaitable<bool> refuse_input(boost::beast::error_code why);
  awaitable<bool> refuse_input(openai::api_error why);
  std::string_view unread() const;

  // http_answer.cpp: completions, whole and streamed.
  awaitable<bool> complete(openai::endpoint where, std::string_view body);
  awaitable<bool> send_whole(http_outbox& out);
  awaitable<bool> send_stream(http_outbox& out);
  awaitable<bool> begin_stream();
  awaitable<bool> send_events(std::string text, bool last);
  awaitable<void> watch_client();

  template <class Function>
  awaitable<std::invoke_result_t<Function>> on_worker(Function compute);
  template <class Message>
  void set_common(Message& message, std::string_view content_type) const;

  http_house& house_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  std::string request_id_;  // of the present request: echoed
  unsigned version_ = 11;   // of the present request
  bool keep_alive_ = false; // after the present request
};

/// Runs `compute` on a worker and comes back to the strand.
template <class Function>
boost::asio::awaitable<std::invoke_result_t<Function>> http_session::on_worker(Function compute) {
  std::optional<std::invoke_result_t<Function>> out;
  const auto work = [&]() -> awaitable<void> {
    out.emplace(compute());
    co_return;
  };
  co_await boost::asio::co_spawn(house_.workers, work, boost::asio::use_awaitable);
  co_return *std::move(out);
}

template <class Message>
void http_session::set_common(Message& message, std::string_view content_type) const {
  namespace http = boost::beast::http;
  message.set(http::field::server, "troupe");
  message.set(http::field::content_type, content_type);
  message.set("x-request-id", request_id_);
  message.keep_alive(keep_alive_);
}

} // namespace troupe
