#include "launch/load_log.hpp"

#include "runtime/core/limits.hpp"

#include <chrono>

namespace troupe::launch {

std::optional<std::string> load_log::on_progress(std::int64_t done, std::int64_t count, time_point now) {
  if (done >= count) begin_ = now; // of what is loaded next
  if (done < 1 || done >= count || now - said_at_ < limits::load_log_interval) return std::nullopt;
  said_at_ = now;
  const auto left = std::chrono::ceil<std::chrono::seconds>((now - begin_) / done * (count - done));
  return "loading weights: " + std::to_string(done) + " of " + std::to_string(count) + " parts, " +
         std::to_string(left.count()) + " s left";
}

} // namespace troupe::launch
