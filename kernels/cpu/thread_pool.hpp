// A fixed set of threads that run one loop at a time; the calling thread takes part.
// Which thread runs which index is free, so work given here must not depend on it (the determinism contract).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace troupe::kernels {

/// Threads wait for a loop by spinning a few microseconds, then sleep in a futex: several processes share the cores.
class thread_pool {
 public:
  /// `size` threads including the caller; 1 runs everything inline and starts none.
  explicit thread_pool(int size);
  ~thread_pool();
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls `fn(index)` once for every index in [0, count) and returns when all are done.
  /// One loop at a time: not from two threads at once, not from inside `fn`, which must not throw.
  template <class Fn>
  void parallel_for(std::int64_t count, Fn&& fn) {
    using fn_type = std::remove_reference_t<Fn>;
    const auto call = [](void* context, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) (*static_cast<fn_type*>(context))(i);
    };
    run({call, const_cast<void*>(static_cast<const void*>(std::addressof(fn))), count});
  }

 private:
  struct loop {
    void (*call)(void*, std::int64_t begin, std::int64_t end) = nullptr;
    void* context = nullptr;
    std::int64_t count = 0;
  };

  void run(const loop& l);
  void take_part(const loop& l);
  void worker();

  loop loop_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> state_{0};  ///< 2 * loops started, + 1 while one is open to workers
  alignas(64) std::atomic<std::uint32_t> inside_{0}; ///< workers that may read loop_
  std::atomic<bool> stopping_{false};
  std::vector<std::jthread> workers_;
};

} // namespace troupe::kernels
