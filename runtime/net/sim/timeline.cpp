#include "runtime/net/sim/timeline.hpp"

#include <algorithm>

namespace troupe::net {

timeline::~timeline() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  added_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void timeline::at(time_point when, task what, kind of) {
  {
    const std::lock_guard lock(mutex_);
    entries_.emplace(when, entry{std::move(what), of});
    if (of == kind::event) ++events_;
  }
  added_.notify_all();
}

time_point timeline::now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

void timeline::run_until_idle() {
  while (step(time_point::max(), true)) {
  }
}

void timeline::advance(duration by) {
  const auto until = now() + by;
  while (step(until, false)) {
  }
  const std::lock_guard lock(mutex_);
  now_ = until;
}

bool timeline::step(time_point limit, bool stop_at_timers) {
  task next;
  {
    const std::lock_guard lock(mutex_);
    if (entries_.empty() || entries_.begin()->first > limit || (stop_at_timers && events_ == 0)) return false;
    auto node = entries_.extract(entries_.begin());
    now_ = std::max(now_, node.key());
    if (node.mapped().of == kind::event) --events_;
    next = std::move(node.mapped().what);
  }
  turn(next);
  return true;
}

void timeline::turn(const task& what) {
  const std::lock_guard lock(turn_);
  runner_ = std::this_thread::get_id();
  what();
  while (between_()) {
  }
  runner_ = std::thread::id{};
}

void timeline::between_tasks(const task& what) {
  const std::lock_guard lock(turn_);
  what();
}

void timeline::run_in_background() {
  thread_ = std::thread([this] { follow_the_clock(); });
}

void timeline::follow_the_clock() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      now_ = std::max(now_, clock::now());
      if (stopping_) return;
      if (entries_.empty())
        added_.wait(lock);
      else if (entries_.begin()->first > now_)
        added_.wait_until(lock, entries_.begin()->first);
      now_ = std::max(now_, clock::now());
    }
    while (step(clock::now(), false)) {
    }
  }
}

} // namespace troupe::net
