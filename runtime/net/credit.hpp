// Flow control of one connection. The sender takes room for every frame it puts on the wire; the receiver's receipts
// give it back, and what has been given back travels with whatever goes the other way. Only when a lot has gathered,
// or the sender says that it waits, is a message made of it.
//
//   credit_window (sender) ─ frame ─▶ receipt ─ dropped ─▶ returned_room (receiver) ─ any message ─▶ credit_window
#pragma once

#include "runtime/core/limits.hpp"
#include "runtime/net/transport.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace troupe::net {

/// An amount of room: frames and their bytes.
struct room {
  std::uint32_t frames = 0;
  std::uint64_t bytes = 0;
};

/// How far both sides let one connection go.
inline constexpr room room_of_a_peer{limits::peer_credit_frames, limits::peer_credit_bytes};

/// The sender's view. Invariant: what is out is at most the window, or one frame that is larger than it.
class credit_window {
 public:
  explicit credit_window(room window = room_of_a_peer) : window_(window) {}

  bool fits(std::uint64_t bytes) const { return out_.frames == 0 || fits_beside(bytes); }
  /// Takes the room of a frame that fits.
  void take(std::uint64_t bytes);
  /// False if more comes back than was taken: the peer is broken.
  bool give_back(room back);
  room out() const { return out_; }

 private:
  bool fits_beside(std::uint64_t bytes) const {
    return out_.frames < window_.frames && bytes <= window_.bytes && out_.bytes <= window_.bytes - bytes;
  }

  room window_;
  room out_;
};

/// The receiver's view: counts what receipts give back until it is sent. Receipts keep it alive.
class returned_room : public std::enable_shared_from_this<returned_room> {
 public:
  /// `send_soon` is called from any thread, at most once before the next take().
  explicit returned_room(std::function<void()> send_soon, room window = room_of_a_peer)
      : send_soon_(std::move(send_soon)), window_(window) {}

  /// A frame has come in: its receipt, or nothing when the sender has overdrawn its credit. Progress thread.
  std::shared_ptr<void> admit(std::uint64_t bytes);

  bool any() const { return frames_.load(std::memory_order_relaxed) > 0; }
  /// All that has come back since; to be sent now. Not from two threads at once.
  room take();

  /// The sender waits for room: from now on whatever comes back calls `send_soon`, until the next take().
  void want();

 private:
  struct taken_room;
  void give_back(std::uint64_t bytes);

  std::function<void()> send_soon_;
  room window_;
  std::atomic<std::uint32_t> frames_{0}; ///< given back, not sent yet
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<bool> wanted_{false};
  std::atomic<bool> told_{false};             ///< send_soon_ has been called
  std::atomic<std::uint64_t> frames_held_{0}; ///< the sender cannot use these
  std::atomic<std::uint64_t> bytes_held_{0};
};

} // namespace troupe::net
