// The time of a simulated network: what happens when, one thing after the other. Either a test moves time by hand, and
// everything runs in its thread (deterministic), or a thread follows the real clock.
#pragma once

#include "runtime/core/clock.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace troupe::net {

class timeline {
 public:
  using task = std::function<void()>;
  /// A timer alone is no reason to go on: run_until_idle() leaves it for advance().
  enum class kind : bool { event, timer };

  timeline() = default;
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;
  ~timeline();

  /// `between` runs after everything else until it returns false. Before anything is run.
  void on_every_turn(std::function<bool()> between) { between_ = std::move(between); }

  /// Any thread. Tasks of the same moment run in the order in which they were added.
  void at(time_point when, task what, kind of = kind::event);
  time_point now() const;

  /// Time jumps from event to event until only timers are left.
  void run_until_idle();
  void advance(duration by);
  /// From now on a thread of its own runs everything, at the real time.
  void run_in_background();
  bool in_background() const { return thread_.joinable(); }

  /// This thread is running a task.
  bool running_here() const { return runner_ == std::this_thread::get_id(); }
  /// Runs `what` while no task runs. Not from a task.
  void between_tasks(const task& what);

 private:
  struct entry {
    task what;
    kind of;
  };

  /// Runs the next task if it is due by `limit`; false if there is none.
  bool step(time_point limit, bool stop_at_timers);
  void turn(const task& what);
  void follow_the_clock();

  mutable std::mutex mutex_; ///< of what follows
  std::condition_variable added_;
  std::multimap<time_point, entry> entries_;
  std::size_t events_ = 0; ///< entries that are no timers
  time_point now_ = clock::now();
  bool stopping_ = false;

  std::mutex turn_; ///< held while a task runs
  std::atomic<std::thread::id> runner_{};
  std::function<bool()> between_ = [] { return false; };
  std::thread thread_;
};

} // namespace troupe::net
