// The bound of the waiting room, and an honest guess when to come again.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/limits.hpp"

#include <cstddef>
#include <deque>

namespace troupe::policy {

class admission {
 public:
  struct decision {
    bool admitted = true;
    duration retry_after{}; ///< of a refusal: within limits::retry_after_min .. retry_after_max
  };

  explicit admission(std::size_t waiting_max = limits::waiting_requests_max) : waiting_max_(waiting_max) {}

  /// A request arrives while `waiting` others wait. Those refused are told one after the other: the n-th since places
  /// came free is sent away for n times the measured time of a place, so that they do not all return at once.
  decision on_arrival(std::size_t waiting, time_point now);

  /// A request has left the waiting room: started, cancelled or failed.
  void on_departure(time_point now);

 private:
  /// Mean time between departures over the last of them, including the silence since; the longest if unknown.
  duration time_per_place(time_point now) const;

  std::size_t waiting_max_;
  std::size_t refused_ = 0;           // and not yet matched by a departure
  std::deque<time_point> departures_; // the last few, oldest first
};

} // namespace troupe::policy
