#include "runtime/net/ucx/progress_loop.hpp"

#include "runtime/core/log.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <thread>

namespace troupe::net {

namespace {

/// Looks at the wire in a row, for one look at everything else: what comes in is seen sooner.
constexpr int polls_per_round = 8;
constexpr int rounds_per_tick = 16;
constexpr int idle_polls_per_yield = 2'000;
constexpr std::chrono::milliseconds tick_interval{1};
constexpr int ticks_per_look_at_sockets = 4; ///< a few us of system calls: each millisecond they would be the p99
constexpr std::chrono::milliseconds sleep_max{1'000};

void pin_to(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
    log::warn("net: the progress thread cannot run on CPU {}", cpu);
}

} // namespace

progress_loop::progress_loop(connections::parts with, connections& peers, options how, time_point& now)
    : with_(std::move(with)), peers_(peers), spin_(how.spin_rounds), how_(how), now_(now),
      ucx_events_(with_.io, with_.net.worker.event_fd()), wakes_(with_.io, with_.jobs->wake_fd()) {}

void progress_loop::run() {
  pthread_setname_np(pthread_self(), "troupe-net");
  pin_to(how_.cpu);
  for (std::int64_t idle = 0; !gone_;) {
    if (round()) {
      spin_.came_after(std::exchange(idle, 0));
    } else if (spin_.used_up(idle += polls_per_round)) {
      spin_.slept_for(sleep());
      idle = 0;
    } else if (idle % idle_polls_per_yield == 0) {
      std::this_thread::yield(); // on a crowded machine the peer may wait for this very core
    }
  }
  ucx_events_.release(); // UCX's and the queue's
  wakes_.release();
}

bool progress_loop::round() {
  const bool ran = with_.listener.run_some();
  bool worked = ran;
  {
    const spin_hold hold(with_.net.lock);
    worked |= with_.jobs->run_all();
    flush();
    worked |= poll(worked ? 1 : polls_per_round);
    flush();
  }
  // What runs here may take long, so that the clock is read sooner after it; idle rounds are short.
  rounds_since_tick_ += ran ? rounds_per_tick / 4 : 1;
  if (rounds_since_tick_ >= rounds_per_tick) tick();
  return worked;
}

/// Until something comes, or another thread wants something done.
bool progress_loop::poll(int times) {
  for (int i = 0; i < times && (i == 0 || with_.jobs->empty()); ++i)
    if (with_.net.worker.progress()) return true;
  return false;
}

void progress_loop::flush() {
  auto& waiting = with_.net.to_flush;
  for (std::size_t i = 0; i < waiting.size(); ++i) waiting[i]->flush();
  waiting.clear();
}

void progress_loop::tick() {
  rounds_since_tick_ = 0;
  const auto now = clock::now();
  if (now - now_ < tick_interval) return;
  now_ = now;
  if (++ticks_ >= ticks_per_look_at_sockets) {
    ticks_ = 0;
    with_.io.poll();
  }
  with_.timers.advance(now);
  {
    const spin_hold hold(with_.net.lock);
    if (with_.net.all_closed() && with_.net.forgotten.empty() && with_.fetches.empty()) with_.net.worker.drop_unused();
  }
  if (leave_until_ == time_point::max()) return;
  if (peers_.leave() || now >= leave_until_) gone_ = true;
}

void progress_loop::leave() {
  leave_until_ = clock::now() + limits::rpc_timeout;
  with_.listener.shut();
}

/// Returns how long it did.
duration progress_loop::sleep() {
  const auto begin = clock::now();
  if (!with_.jobs->fall_asleep()) return {};
  bool armed = false;
  {
    const spin_hold hold(with_.net.lock);
    armed = with_.net.to_flush.empty() && with_.net.worker.arm();
  }
  if (armed) {
    wait_for(ucx_events_, waits_for_ucx_);
    wait_for(wakes_, waits_for_wakes_);
    const auto longest = leave_until_ == time_point::max() ? sleep_max : tick_interval;
    with_.io.run_one_until(std::min(with_.timers.next(), clock::now() + longest));
  }
  with_.jobs->wake_up();
  now_ = time_point{}; // so that the next tick looks at sockets and timers
  ticks_ = ticks_per_look_at_sockets - 1;
  rounds_since_tick_ = rounds_per_tick;
  return clock::now() - begin;
}

void progress_loop::wait_for(boost::asio::posix::stream_descriptor& descriptor, bool& waiting) {
  if (std::exchange(waiting, true)) return;
  descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                        [&waiting](const boost::system::error_code&) { waiting = false; });
}

} // namespace troupe::net
