#include "runtime/net/job_queue.hpp"

#include "runtime/core/invariant.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace troupe::net {

namespace {

struct function_job final : job {
  explicit function_job(std::function<void()> what) : task(std::move(what)) {}
  void run(std::unique_ptr<job>) override { task(); }
  std::function<void()> task;
};

} // namespace

job_queue::job_queue() : wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  invariant(wake_fd_ >= 0, "the system has a descriptor for waking a transport");
}

job_queue::~job_queue() {
  for (auto* next = newest_.load(); next;) delete std::exchange(next, next->next);
  ::close(wake_fd_);
}

void job_queue::push(std::unique_ptr<job> work) {
  auto* const pushed = work.release();
  pushed->next = newest_.load(std::memory_order_relaxed);
  while (!newest_.compare_exchange_weak(pushed->next, pushed, std::memory_order_seq_cst)) {
  }
  wake();
}

void job_queue::push(std::function<void()> task) { push(std::make_unique<function_job>(std::move(task))); }

void job_queue::wake() {
  if (!asleep_.load(std::memory_order_seq_cst) || !asleep_.exchange(false)) return;
  const std::uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof(one));
}

bool job_queue::run_all() {
  if (newest_.load(std::memory_order_relaxed) == nullptr) return false;
  job* oldest = nullptr;
  for (auto* from = newest_.exchange(nullptr, std::memory_order_acquire); from;) {
    auto* const older = std::exchange(from->next, oldest);
    oldest = std::exchange(from, older);
  }
  while (oldest) {
    std::unique_ptr<job> work(std::exchange(oldest, oldest->next));
    auto& running = *work;
    running.run(std::move(work));
  }
  return true;
}

bool job_queue::fall_asleep() {
  asleep_.store(true, std::memory_order_seq_cst);
  if (empty()) return true;
  asleep_.store(false);
  return false;
}

void job_queue::wake_up() {
  if (asleep_.exchange(false)) return;
  std::uint64_t wakes = 0;
  (void)!::read(wake_fd_, &wakes, sizeof(wakes));
}

} // namespace troupe::net
