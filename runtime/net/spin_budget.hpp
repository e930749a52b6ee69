// How often a progress thread looks at the wire in vain before it sleeps. Sleeping costs the next message a wake-up
// (30 us), looking costs others the core: so it looks for as long as that has paid lately.
// Pure. Invariant: never beyond `most`; a thread whose looks never pay soon gives them up, and tries again once
// messages come so fast that it is woken at once.
#pragma once

#include "runtime/core/clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace troupe::net {

class spin_budget {
 public:
  /// `most` looks; negative: never sleep.
  explicit spin_budget(std::int64_t most) : most_(most), now_(most) {}

  bool used_up(std::int64_t looks) const { return most_ >= 0 && looks > now_; }

  /// Something came after `looks` in vain.
  void came_after(std::int64_t looks) {
    if (most_ >= 0) now_ = std::clamp(2 * looks, now_, most_);
  }
  /// It slept for so long before something came.
  void slept_for(duration time) {
    if (most_ < 0) return;
    now_ =
        time < worth_spinning ? std::min(most_, std::max(2 * now_, least)) : std::max(now_ / 2, std::min(least, most_));
  }

 private:
  static constexpr std::int64_t least = 16;
  static constexpr std::chrono::microseconds worth_spinning{60}; // a wake-up there and one back

  std::int64_t most_;
  std::int64_t now_;
};

} // namespace troupe::net
