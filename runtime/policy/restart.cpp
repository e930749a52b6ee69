#include "runtime/policy/restart.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::policy {

std::optional<duration> restart::on_exit(time_point now, double random) {
  while (!recent_.empty() && now - recent_.front() > options_.period) recent_.pop_front();
  recent_.push_back(now);
  if (recent_.size() > static_cast<std::size_t>(options_.intensity)) return std::nullopt;
  ++restarts_;
  const auto doubled = std::ldexp(1.0, static_cast<int>(recent_.size()) - 1) * options_.delay_min;
  const auto delay = std::min<std::chrono::duration<double, duration::period>>(doubled, options_.delay_max);
  return std::chrono::duration_cast<duration>(delay * (0.8 + 0.4 * random));
}

} // namespace troupe::policy
