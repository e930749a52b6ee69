// The lock around a UCX worker: held for a microsecond, by the progress thread nearly always and by others now and
// then. A mutex would cost more than what it guards. Invariant: its holder knows that it holds it (`mine()`), so that
// code which runs inside a callback and outside of one can share a path.
#pragma once

#include <atomic>
#include <thread>

namespace troupe::net {

class spin_lock {
 public:
  bool mine() const { return owner_.load(std::memory_order_relaxed) == self(); }

  bool try_lock() {
    const char* nobody = nullptr;
    return owner_.load(std::memory_order_relaxed) == nullptr &&
           owner_.compare_exchange_strong(nobody, self(), std::memory_order_acquire, std::memory_order_relaxed);
  }

  void lock() {
    for (int round = 0; !try_lock(); ++round)
      if (round >= rounds_before_yield) std::this_thread::yield();
  }

  void unlock() { owner_.store(nullptr, std::memory_order_release); }

 private:
  static constexpr int rounds_before_yield = 64; // the holder may have lost its core
  static const char* self() {
    static thread_local char address_of_this_thread;
    return &address_of_this_thread;
  }

  std::atomic<const char*> owner_{nullptr};
};

/// Holds `lock` in a scope; nothing to do where this thread holds it already.
class spin_hold {
 public:
  explicit spin_hold(spin_lock& lock) : lock_(lock.mine() ? nullptr : &lock) {
    if (lock_) lock_->lock();
  }
  spin_hold(const spin_hold&) = delete;
  spin_hold& operator=(const spin_hold&) = delete;
  ~spin_hold() {
    if (lock_) lock_->unlock();
  }

 private:
  spin_lock* lock_;
};

} // namespace troupe::net
