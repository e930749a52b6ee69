// Deadlines of a progress thread: adding one costs a push_back, and no other thread is woken for it. Most of them
// (timeouts of requests that are answered) only ever run to find that nothing is left to do.
// Pure: `now` is passed in. Invariant: a task runs once, never early, at most a slot late when advance() is called.
#pragma once

#include "runtime/core/clock.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace troupe::net {

class timer_wheel {
 public:
  using task = std::function<void()>;
  static constexpr std::chrono::milliseconds slot{1};

  explicit timer_wheel(time_point now) : done_(slot_of(now)), wheel_(slots) {}

  void add(time_point when, task what);
  /// Runs what is due. Tasks may add others; those run in a later call.
  void advance(time_point now);
  /// When advance() may have something to do; time_point::max() if never. Deadlines further away than a turn of the
  /// wheel (16 s) are looked at once a turn.
  time_point next() const;
  bool empty() const { return count_ == 0; }

 private:
  static constexpr std::size_t slots = 16'384; // a turn is longer than limits::rpc_timeout
  struct timer {
    time_point when;
    task what;
  };

  static std::int64_t slot_of(time_point when) { return when.time_since_epoch() / slot; }
  static std::size_t index_of(std::int64_t slot) { return static_cast<std::size_t>(slot) % slots; }
  void mark(std::size_t index, bool used);
  void run_slot(std::size_t index, time_point now);

  std::int64_t done_; ///< every slot up to this one has been run
  std::vector<std::vector<timer>> wheel_;
  std::array<std::uint64_t, slots / 64> used_{}; ///< a bit for each slot with timers
  std::size_t count_ = 0;
};

} // namespace troupe::net
