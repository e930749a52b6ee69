#include "runtime/net/ucx/bootstrap.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>

namespace troupe::net {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

std::string without_brackets(const std::string& host) {
  return host.size() > 2 && host.front() == '[' ? host.substr(1, host.size() - 2) : host;
}

} // namespace

result<tcp_acceptor> listen_at(asio::io_context& io, const std::string& host, std::uint16_t port) {
  boost::system::error_code failed;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(without_brackets(host), std::to_string(port), tcp::resolver::passive, failed);
  tcp_acceptor out(io);
  if (!failed && !found.empty()) {
    const auto endpoint = found.begin()->endpoint();
    if (endpoint.address().is_unspecified())
      return error{errc::bad_input, "cannot listen at " + host +
                                        ": every interface is too many; name the one by which "
                                        "other processes reach this one"};
    out.open(endpoint.protocol(), failed);
    if (!failed) out.set_option(tcp_acceptor::reuse_address(true), failed);
    if (!failed) out.bind(endpoint, failed);
    if (!failed) out.listen(asio::socket_base::max_listen_connections, failed);
  }
  if (failed)
    return error{errc::bad_input, "cannot listen at " + host + ":" + std::to_string(port) + ": " + failed.message()};
  return out;
}

socket_deadline::socket_deadline(const std::shared_ptr<tcp_socket>& socket, std::chrono::milliseconds limit)
    : timer_(socket->get_executor(), limit) {
  timer_.async_wait([weak = std::weak_ptr(socket)](const boost::system::error_code& cancelled) {
    boost::system::error_code ignored;
    const auto late = weak.lock();
    if (!cancelled && late) late->close(ignored);
  });
}

void make_tether(tcp_socket& socket) {
  const auto set = [&](int level, int name, int value) {
    (void)::setsockopt(socket.native_handle(), level, name, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 1);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(IPPROTO_TCP, TCP_KEEPCNT, 2);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 2'000);
}

awaitable<result<void>> dial(tcp_socket& socket, peer_uri to) {
  tcp::resolver resolver(socket.get_executor());
  const auto host = without_brackets(to.host);
  const auto port = std::to_string(to.port);
  const auto [not_found, endpoints] = co_await resolver.async_resolve(host, port, as_result);
  if (not_found) co_return error{errc::disconnected, "no host " + host + ": " + not_found.message()};
  const auto [failed, endpoint] = co_await asio::async_connect(socket, endpoints, as_result);
  if (failed) co_return error{errc::disconnected, "nobody answers at " + host + ":" + port + ": " + failed.message()};
  make_tether(socket);
  co_return result<void>{};
}

awaitable<result<handshake_session>> shake_hands(tcp_socket& socket, const cluster_secret& secret,
                                                 handshake::options how) {
  const bool dialled = how.role == handshake_role::dialler;
  handshake shake(secret, std::move(how));
  const auto closed_by_peer = [&] {
    auto why = shake.closed_by_peer();
    if (!dialled) why.code = errc::disconnected; // a dialler may think better of it
    return why;
  };
  std::vector<std::byte> to_send = shake.begin();
  std::vector<std::byte> received;
  for (;;) {
    if (!to_send.empty()) {
      const auto [failed, sent] = co_await asio::async_write(socket, asio::buffer(to_send), as_result);
      if (failed) co_return closed_by_peer();
    }
    if (shake.done()) co_return shake.session();
    received.resize(std::min(shake.wanted_bytes(), std::size_t{64} << 10));
    const auto [closed, count] = co_await socket.async_read_some(asio::buffer(received), as_result);
    if (closed) co_return closed_by_peer();
    auto reply = shake.receive(std::span(received).first(count));
    if (!reply) co_return reply.error();
    to_send = std::move(*reply);
  }
}

awaitable<bool> send_signal(tcp_socket& socket, signal_byte what) {
  const std::array<char, 1> byte{static_cast<char>(what)};
  const auto [failed, sent] = co_await asio::async_write(socket, asio::buffer(byte), as_result);
  co_return !failed;
}

void send_signal_now(tcp_socket& socket, signal_byte what) {
  const auto byte = static_cast<char>(what);
  (void)::send(socket.native_handle(), &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

awaitable<char> receive_signal(tcp_socket& socket) {
  std::array<char, 1> byte{};
  const auto [failed, count] = co_await asio::async_read(socket, asio::buffer(byte), as_result);
  co_return failed ? '\0' : byte[0];
}

} // namespace troupe::net
