// Numbers of a measurement: percentiles, and what every lane of the transport benchmark is asked to do.
#pragma once

#include "runtime/core/clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe::net::bench {

inline constexpr std::size_t small_bytes = 64;
inline constexpr std::size_t large_bytes = 1u << 20;
/// Messages under way at most; the receiver acknowledges each quarter, which keeps the wire full.
inline constexpr std::uint32_t small_window = 1024;
inline constexpr std::uint32_t large_window = 16;

/// Of `values` in any order; 0 without any.
inline double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(p / 100 * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

inline double median(std::vector<double> values) { return percentile(std::move(values), 50); }

inline double microseconds(duration d) { return std::chrono::duration<double, std::micro>(d).count(); }
inline double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

} // namespace troupe::net::bench
