#include "runtime/net/timer_wheel.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace troupe::net {

void timer_wheel::mark(std::size_t index, bool used) {
  const auto bit = std::uint64_t{1} << (index % 64);
  used_[index / 64] = used ? used_[index / 64] | bit : used_[index / 64] & ~bit;
}

void timer_wheel::add(time_point when, task what) {
  // The slot after the one `when` falls into: when that begins, `when` has passed.
  const auto due = std::max(slot_of(when), done_) + 1;
  wheel_[index_of(due)].push_back({when, std::move(what)});
  mark(index_of(due), true);
  ++count_;
}

void timer_wheel::advance(time_point now) {
  const auto last = slot_of(now);
  if (last - done_ >= static_cast<std::int64_t>(slots)) done_ = last - static_cast<std::int64_t>(slots);
  while (done_ < last) {
    if (count_ == 0) {
      done_ = last;
      return;
    }
    ++done_;
    const auto index = index_of(done_);
    if (used_[index / 64] >> (index % 64) & 1) run_slot(index, now);
  }
}

void timer_wheel::run_slot(std::size_t index, time_point now) {
  auto timers = std::exchange(wheel_[index], {});
  mark(index, false);
  const auto later = std::stable_partition(timers.begin(), timers.end(), [&](const timer& t) { return t.when <= now; });
  for (auto t = later; t != timers.end(); ++t) wheel_[index].push_back(std::move(*t)); // another turn of the wheel
  if (later != timers.end()) mark(index, true);
  timers.erase(later, timers.end());
  count_ -= timers.size();
  for (auto& t : timers) t.what();
}

time_point timer_wheel::next() const {
  if (count_ == 0) return time_point::max();
  const auto first = index_of(done_ + 1);
  for (std::size_t step = 0; step <= slots / 64; ++step) {
    const auto word = (first / 64 + step) % used_.size();
    auto bits = used_[word];
    if (step == 0) bits &= ~std::uint64_t{0} << (first % 64);
    if (step == slots / 64) bits &= ~(~std::uint64_t{0} << (first % 64));
    if (bits == 0) continue;
    const auto found = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
    const auto ahead = static_cast<std::int64_t>((found + slots - first) % slots);
    return time_point(slot * (done_ + 1 + ahead));
  }
  return time_point::max();
}

} // namespace troupe::net
