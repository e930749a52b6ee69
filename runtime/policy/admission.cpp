#include "runtime/policy/admission.hpp"

#include <algorithm>

namespace troupe::policy {

namespace {
/// Departures to average over: enough to smooth a batch that starts at once, few enough to follow a change of load.
constexpr std::size_t departures_kept = 64;
} // namespace

admission::decision admission::on_arrival(std::size_t waiting, time_point now) {
  if (waiting < waiting_max_) return {};
  ++refused_;
  const auto place = time_per_place(now);
  // Compare by division: the product may not fit.
  const bool long_wait = place >= limits::retry_after_max / static_cast<duration::rep>(refused_);
  const auto wait = long_wait ? duration(limits::retry_after_max) : place * static_cast<duration::rep>(refused_);
  return {.admitted = false, .retry_after = std::max<duration>(wait, limits::retry_after_min)};
}

void admission::on_departure(time_point now) {
  if (refused_ > 0) --refused_;
  departures_.push_back(now);
  if (departures_.size() > departures_kept) departures_.pop_front();
}

duration admission::time_per_place(time_point now) const {
  if (departures_.empty()) return limits::retry_after_max;
  return (now - departures_.front()) / static_cast<duration::rep>(departures_.size());
}

} // namespace troupe::policy
