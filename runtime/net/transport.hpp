// Bytes between processes: peers, frames, segments. Knows nothing of actors; the bridge puts CAF's messages on it.
// Two kinds: ucx (shared memory, TCP, InfiniBand: whatever UCX finds) and sim (a seeded network in memory).
//
//   any thread ─send─▶ queue of the peer, bounded by its credit ─▶ wire ─▶ progress thread of the peer ─▶ listener
//
// Each transport has one progress thread, in which everything is received and every callback runs.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/segment.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace troupe::net {

/// One connection to another process; never reused within a transport, so a peer that comes back is a new one.
using peer_id = strong_id<struct peer_tag, std::uint32_t>;

/// Frames of one stream arrive in the order they were sent; those of others may overtake (a large one is fetched by
/// the receiver). The bridge makes one of each pair of sender and receiver.
using stream_id = strong_id<struct stream_tag, std::uint64_t>;

/// Whoever counts the room of received frames. Any thread.
class room_keeper {
 public:
  virtual ~room_keeper() = default;
  virtual void give_back(std::uint64_t bytes) = 0;
};

/// The room that one received frame takes. While it lives, the sender cannot use that room again: keep it as long as
/// the frame waits to be handled. Any thread.
class receipt {
 public:
  receipt() = default;
  receipt(std::shared_ptr<room_keeper> keeper, std::uint64_t bytes) : keeper_(std::move(keeper)), bytes_(bytes) {}
  receipt(receipt&& from) noexcept = default;
  receipt& operator=(receipt&& from) noexcept {
    receipt old(std::move(*this));
    keeper_ = std::move(from.keeper_);
    bytes_ = from.bytes_;
    return *this;
  }
  ~receipt() {
    if (keeper_) keeper_->give_back(bytes_);
  }

 private:
  std::shared_ptr<room_keeper> keeper_;
  std::uint64_t bytes_ = 0;
};

/// What a transport tells its owner. Every call comes from the progress thread; none may block or throw.
class transport_listener {
 public:
  virtual ~transport_listener() = default;

  /// Both sides have authenticated each other. `uri` is the peer's; `hello` is what its owner gave its transport.
  virtual void on_peer_up(peer_id peer, const std::string& uri, std::span<const std::byte> hello) = 0;

  /// A frame for us. `meta` is readable during the call only and aligned to 16; `segments` are ours to keep.
  virtual void on_frame(peer_id peer, std::span<const std::byte> meta, std::span<segment> segments, receipt room) = 0;

  /// The last call about this peer: it died, left, hangs, did not authenticate, or never answered. Frames it had not
  /// taken are lost.
  virtual void on_peer_down(peer_id peer, const error& why) = 0;

  /// Between two polls of the wire: work that belongs into this thread. True if there is more.
  virtual bool run_some() = 0;
};

/// Handler of the hot lane: runs inside the receive callback, `bytes` are readable during the call and aligned to 16.
using hot_handler = std::function<void(peer_id, std::span<const std::byte> bytes)>;

class transport {
 public:
  virtual ~transport() = default;

  /// "ucx://host:port/uid": where others reach this process. Known from the beginning.
  virtual const std::string& uri() const = 0;

  /// Starts the progress thread. `listener` outlives stop(); `hello` goes to every peer with the handshake.
  /// Errors: bad_input when the address cannot be bound, unsupported when the machine lacks something.
  virtual result<void> start(transport_listener& listener, std::span<const std::byte> hello) = 0;

  /// Sends what has been accepted, as far as peers take it within limits::rpc_timeout, closes every peer without
  /// on_peer_down, and ends the progress thread. Not from that thread.
  virtual void stop() = 0;

  /// The peer that serves `uri`: the present connection or a new one. Returns at once; frames wait until the peer is
  /// up, and a peer that cannot be reached goes down. Any thread. Errors: bad_input for a malformed uri.
  virtual result<peer_id> connect(const std::string& uri) = 0;

  /// Takes `meta` (copied) and `segments` (kept until sent). Any thread; never blocks. Errors: overloaded when the
  /// receiver is so far behind that limits::peer_waiting_bytes_max wait here already, disconnected when the peer is
  /// down, bad_input above the limits of a frame.
  virtual result<void> send(peer_id peer, stream_id stream, std::span<const std::byte> meta,
                            std::span<const segment> segments = {}) = 0;

  /// Small, urgent, unordered bytes (at most hot_bytes_max), never queued behind frames; lost if the peer goes down.
  virtual result<void> send_hot(peer_id peer, std::uint8_t lane, std::span<const std::byte> bytes) = 0;
  static constexpr std::size_t hot_bytes_max = 1024;
  static constexpr std::uint8_t hot_lanes_max = 16;
  /// Before start().
  virtual void on_hot(std::uint8_t lane, hot_handler handler) = 0;

  /// Runs `task` in the progress thread, soon. Any thread.
  virtual void post(std::function<void()> task) = 0;
  /// Runs `task` in the progress thread at `when` or up to a millisecond later (a timer wheel; waking nobody).
  virtual void post_at(time_point when, std::function<void()> task) = 0;
  virtual bool in_progress_thread() const = 0;
};

} // namespace troupe::net
