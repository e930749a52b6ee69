// When to ask a peer for a sign of life and when it is lost, by the progress thread's own clock. Bytes of any kind are
// a sign. Rejected: adaptive detectors (phi accrual); pings are answered by a progress thread that does nothing else,
// so the gaps between signs have no distribution worth learning, and a fixed bound can be promised.
// Invariant: silence that fell into a pause of our own is never held against the peer.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/limits.hpp"

#include <algorithm>
#include <cstdint>

namespace troupe::net {

/// One peer's pulse. Pure: call `on_sign` when something came from it and `tick` at next_tick().
class liveness {
 public:
  struct options {
    duration ping_interval = limits::ping_interval;
    duration ping_timeout = limits::ping_timeout;
  };

  enum class verdict : std::uint8_t {
    wait, ///< nothing to do before next_tick()
    ping, ///< ask it now; counts as asked
    lost, ///< silent for ping_timeout although we asked and looked; stays lost
  };

  /// The peer has just proved itself at `now`: that is its first sign.
  explicit liveness(time_point now) : liveness(now, options{}) {}
  liveness(time_point now, options how) : how_(how), last_sign_(now), last_ping_(now), last_tick_(now) {}

  /// Something came from the peer.
  void on_sign(time_point now);

  /// Of the time since the tick before, no more than an interval and a quarter counts: when more has passed, our own
  /// loop stood still (SIGSTOP, a busy machine, a debugger) and could neither ask nor hear. So a peer is lost only
  /// after it has been asked some times, and a loop that is always late still finds out.
  verdict tick(time_point now);

  /// When tick() has something to say if no sign comes before; at most ping_interval after the last one.
  time_point next_tick() const;

 private:
  duration tick_max() const { return how_.ping_interval + how_.ping_interval / 4; }
  time_point ping_due() const { return std::max(last_sign_, last_ping_) + how_.ping_interval; }
  time_point lost_due() const { return last_sign_ + how_.ping_timeout; }

  options how_;
  time_point last_sign_; ///< moved on by what does not count
  time_point last_ping_;
  time_point last_tick_;
  bool lost_ = false;
};

} // namespace troupe::net
