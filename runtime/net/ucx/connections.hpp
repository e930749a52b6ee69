// How connections begin and end. Every process listens; two that dial each other at once end up with one connection:
// the dial of the smaller uri goes first.
//
//   dialler                          acceptor
//   handshake ◀───────────────────▶  handshake                 (handshake.hpp)
//             ◀──────── accepted ──  or refused: I am dialling you, and my uri is smaller
//   endpoint ── committed ────────▶  endpoint, up
//   up ◀───────── ready over UCX ──  the first message that UCX carries; frames may follow
//
// The sockets stay open: their end is the peer's end. Progress thread only, but for make_peer() and fail_soon().
#pragma once

#include "runtime/net/timer_wheel.hpp"
#include "runtime/net/ucx/bootstrap.hpp"
#include "runtime/net/ucx/peer_table.hpp"

#include <boost/asio/io_context.hpp>

#include <set>

namespace troupe::net {

/// Hands on what the listener may still hear: nothing once the transport stops.
class listener_gate final : public transport_listener {
 public:
  void open(transport_listener& to) { to_ = &to; }
  void shut() { to_ = nullptr; }
  bool is_open() const { return to_ != nullptr; }

  void on_peer_up(peer_id who, const std::string& uri, std::span<const std::byte> hello) override {
    if (to_) to_->on_peer_up(who, uri, hello);
  }
  void on_frame(peer_id who, std::span<const std::byte> meta, std::span<segment> segments, receipt room) override {
    if (to_) to_->on_frame(who, meta, segments, std::move(room));
  }
  void on_peer_down(peer_id who, const error& why) override {
    if (to_) to_->on_peer_down(who, why);
  }
  bool run_some() override { return to_ && to_->run_some(); }

 private:
  transport_listener* to_ = nullptr;
};

class connections {
 public:
  /// What a transport is made of. All of it outlives this.
  struct parts {
    boost::asio::io_context& io;
    wire& net;
    peer_table& table;
    timer_wheel& timers;
    std::shared_ptr<job_queue> jobs;
    listener_gate& listener;
    fetch_list& fetches;
  };
  struct identity {
    std::string uri;
    cluster_secret secret;
    std::vector<std::byte> hello;
    std::string host; ///< host_identity()
  };

  connections(parts with, identity me);

  /// Lets others in.
  void listen(tcp_acceptor& at);
  /// A new peer, not in any table. Any thread.
  std::shared_ptr<peer> make_peer(peer_id id, const std::string& uri);
  void dial(const std::shared_ptr<peer>& who);
  /// The acceptor listens, so that the connection is up.
  void on_ready(peer& who);
  /// The peer stops: nothing more comes, and what it is fetching now is the last that it takes.
  void on_leaving(peer& who);
  /// Takes the peer down outside of any callback. Its traffic counts no more from here on when this is its thread.
  void fail_soon(peer& who, const error& why);

  /// Says goodbye to whoever has been sent everything. True when nobody is left.
  bool leave();
  /// Takes everybody down at once.
  void leave_now();

 private:
  using peer_ptr = std::shared_ptr<peer>;
  using socket_ptr = std::shared_ptr<tcp_socket>;
  struct channel_lease;
  enum class admission : std::uint8_t { refused, joined, replaces };
  struct admitted {
    admission how;
    peer_ptr who; ///< of joined
  };

  awaitable<void> accept_all(tcp_acceptor& at);
  awaitable<void> serve(socket_ptr socket);
  awaitable<void> reach(peer_ptr who, std::uint32_t attempt, socket_ptr socket);
  awaitable<void> watch(peer_ptr who, socket_ptr socket);
  void start(awaitable<void> what);
  void read_address();
  void meet(const peer_card& card);
  void start_anew_with(const std::string& uri);
  peer_card card(std::uint32_t channel, std::string wanted) const;
  admitted admit(const std::string& uri, const socket_ptr& socket);
  result<peer_ptr> replace(const std::string& uri);
  result<void> open(const peer_ptr& who, const handshake_session& session, std::uint32_t channel, socket_ptr socket);
  void come_up(peer& who);
  void feel_pulse(const peer_ptr& who);
  void hear_the_rest();
  void part_from(const peer_ptr& who);
  void fail_now(peer_id id, const error& why);
  void down(const peer_ptr& who, const error& why);
  void bury(peer& who);
  static void hang_up(peer& who);
  void tidy_up_soon();

  parts with_;
  identity me_;
  std::vector<std::byte> address_; ///< host identity and worker address
  std::set<std::string> met_;      ///< on other hosts, whom our newest worker may have had (half) a connection with
  std::size_t handshakes_ = 0;
  bool tidies_soon_ = false;
};

} // namespace troupe::net
