// The caller opens a loop by making `state_` odd, works, and closes it when no index is left. A worker that wakes late
// finds it closed and is not waited for: with more threads than free cores a loop costs no more than its slowest chunk.
#include "kernels/cpu/thread_pool.hpp"

#include "kernels/cpu/check.hpp"

#include <algorithm>
#include <immintrin.h>

namespace troupe::kernels {
namespace {

constexpr int spin_rounds = 500; // 140 cycles each on Sapphire Rapids: about 30 us
constexpr std::int64_t chunks_per_thread = 8;

/// Returns when `word` differs from `old`: a short spin, then a futex sleep.
std::uint32_t wait_until_changed(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  for (int i = 0; i < spin_rounds; ++i) {
    const auto now = word.load();
    if (now != old) return now;
    _mm_pause();
  }
  word.wait(old);
  return word.load();
}

} // namespace

thread_pool::thread_pool(int size) {
  check(size >= 1, "a thread pool needs at least one thread");
  for (int i = 1; i < size; ++i) workers_.emplace_back([this] { worker(); });
}

thread_pool::~thread_pool() {
  stopping_.store(true);
  state_.fetch_add(2);
  state_.notify_all();
}

void thread_pool::run(const loop& l) {
  if (workers_.empty() || l.count <= 1) {
    l.call(l.context, 0, l.count);
    return;
  }
  loop_ = l;
  next_.store(0, std::memory_order_relaxed);
  state_.fetch_add(1);
  state_.notify_all();

  take_part(l);

  // Sequentially consistent on purpose: a worker raises inside_ and then reads state_, we do the opposite.
  state_.fetch_add(1);
  for (auto left = inside_.load(); left != 0;) left = wait_until_changed(inside_, left);
}

void thread_pool::take_part(const loop& l) {
  const std::int64_t chunk = std::max<std::int64_t>(1, l.count / (size() * chunks_per_thread));
  for (;;) {
    const auto begin = next_.fetch_add(chunk, std::memory_order_relaxed);
    if (begin >= l.count) return;
    l.call(l.context, begin, std::min(begin + chunk, l.count));
  }
}

void thread_pool::worker() {
  std::uint32_t seen = 0;
  while (!stopping_.load()) {
    if (seen % 2 == 1) {
      inside_.fetch_add(1);
      if (state_.load() == seen) take_part(loop_);
      if (inside_.fetch_sub(1) == 1) inside_.notify_one();
    }
    seen = wait_until_changed(state_, seen);
  }
}

} // namespace troupe::kernels
