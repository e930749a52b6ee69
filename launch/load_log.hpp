// What loading a model says while it takes long: how far it is, and how long the rest will take.
#pragma once

#include "runtime/core/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::launch {

/// Pure: the caller brings the time and logs what it gets.
class load_log {
 public:
  explicit load_log(time_point begin) : begin_(begin), said_at_(begin) {}

  /// A line such as "loading weights: 12 of 61 parts, 41 s left", if none was due for limits::load_log_interval.
  std::optional<std::string> on_progress(std::int64_t done, std::int64_t count, time_point now);

 private:
  time_point begin_, said_at_;
};

} // namespace troupe::launch
