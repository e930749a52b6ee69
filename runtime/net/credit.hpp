// Flow control of one connection. The sender takes room for every frame it puts on the wire; the receiver's receipts
// give it back. Once some of it has gathered it travels with whatever goes the other way; only when that is a lot, or
// the sender says that it waits, is a message made of it.
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
class returned_room final : public room_keeper {
 public:
  /// `send_soon` is called from any thread, at most once before the next take(). At most 65,535 frames.
  explicit returned_room(std::function<void()> send_soon, room window = room_of_a_peer)
      : send_soon_(std::move(send_soon)), window_(window) {}

  /// A frame has come in. False when the sender has overdrawn its credit. Its receipt is the caller's to make. Not from
  /// two threads at once, nor while another one is in a take.
  bool admit(std::uint64_t bytes);
  /// Of a receipt; any thread.
  void give_back(std::uint64_t bytes) override;

  bool any() const { return back_.load(std::memory_order_relaxed) != 0; }
  /// All that has come back since; to be sent now. As admit().
  room take();
  /// The same if it is worth its bytes: the sender waits for it, or a sixteenth of the window has gathered.
  room take_much() {
    const auto all = unpack(back_.load(std::memory_order_relaxed));
    return reaches(all, 16) || wanted_.load(std::memory_order_relaxed) ? take() : room{};
  }

  /// The sender waits for room: from now on whatever comes back calls `send_soon`, until the next take().
  void want();

 private:
  static constexpr int frames_shift = 48; ///< of the two counts in one word: bytes below

  static room unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> frames_shift), word & ((std::uint64_t{1} << frames_shift) - 1)};
  }
  bool reaches(room some, unsigned fraction) const {
    return some.frames >= window_.frames / fraction || some.bytes >= window_.bytes / fraction;
  }

  std::function<void()> send_soon_;
  room window_;
  room held_;                          ///< the sender cannot use this
  std::atomic<std::uint64_t> back_{0}; ///< given back, not sent yet
  std::atomic<bool> wanted_{false};
  std::atomic<bool> told_{false}; ///< send_soon_ has been called
};

} // namespace troupe::net
