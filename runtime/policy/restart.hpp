// When to start a dead process again, and when to stop trying: Erlang/OTP's intensity and period (operations.md 1.1)
// with an exponential delay. Giving up is the point: a storm of restarts must climb to where something can be changed.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/limits.hpp"

#include <deque>
#include <optional>

namespace troupe::policy {

struct restart_options {
  int intensity = limits::restart_intensity; ///< restarts allowed ...
  duration period = limits::restart_period;  ///< ... within this time
  duration delay_min = limits::restart_delay_min;
  duration delay_max = limits::restart_delay_max;
};

/// One child's history.
class restart {
 public:
  explicit restart(restart_options options = {}) : options_(options) {}

  /// The child has died. How long to wait before it is started again, or nothing: it died too often. `random` in [0, 1)
  /// spreads the delay by +-20 %, so that children of one cause do not come back in step.
  std::optional<duration> on_exit(time_point now, double random);

  int restarts() const { return restarts_; }

 private:
  restart_options options_;
  std::deque<time_point> recent_; // exits within the period, oldest first
  int restarts_ = 0;
};

} // namespace troupe::policy
