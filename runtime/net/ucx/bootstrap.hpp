// TCP sockets over which processes find each other: the listener, dialling, and the handshake with its deadlines.
// Everything runs in the progress thread; no socket is ever waited for by anything but its own coroutine.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/handshake.hpp"
#include "runtime/net/peer_uri.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>

namespace troupe::net {

using boost::asio::awaitable;
using tcp_socket = boost::asio::ip::tcp::socket;
using tcp_acceptor = boost::asio::ip::tcp::acceptor;

/// Listens at `host`:`port` (0: any). Errors: bad_input when that is not possible, or `host` is a wildcard.
result<tcp_acceptor> listen_at(boost::asio::io_context& io, const std::string& host, std::uint16_t port);

/// Closes a socket when it takes too long, unless it is gone before.
class socket_deadline {
 public:
  socket_deadline(const std::shared_ptr<tcp_socket>& socket, std::chrono::milliseconds limit);

 private:
  boost::asio::steady_timer timer_;
};

/// The end of a peer's kernel or link is seen within two seconds; bytes leave at once.
void make_tether(tcp_socket& socket);

/// Opens `socket` to where `to` points. Errors: disconnected.
awaitable<result<void>> dial(tcp_socket& socket, peer_uri to);

/// Errors: bad_input when the other side is not one of ours, disconnected.
awaitable<result<handshake_session>> shake_hands(tcp_socket& socket, const cluster_secret& secret,
                                                 handshake::options how);

/// What follows the handshake: one byte each.
enum class signal_byte : char {
  accepted = 'a',  ///< acceptor: go on
  refused = 'r',   ///< acceptor: my own dial to you goes first
  committed = 'c', ///< dialler: this connection it is
  ping = '?',      ///< both, as long as the connection is up: answer with pong. Not over UCX, where it would queue up
  pong = '!'       ///< behind a gigabyte of segments.
};
awaitable<bool> send_signal(tcp_socket& socket, signal_byte what);
/// The same at once; lost when the socket is full.
void send_signal_now(tcp_socket& socket, signal_byte what);
/// '\0' when the connection has ended.
awaitable<char> receive_signal(tcp_socket& socket);

} // namespace troupe::net
