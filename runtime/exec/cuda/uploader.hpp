// Weights to the device at the speed of the disk or page cache: some threads read pieces of mapped files, or make what
// the kernels want of them, into pinned memory, each its own part, while the copy engine empties the piece before.
#pragma once

#include "runtime/exec/cuda/device.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::exec {

/// For one role's loading, on the device that is current when it is made. One caller at a time.
class uploader {
 public:
  static constexpr std::size_t piece_bytes = std::size_t{2} << 20;

  uploader();
  ~uploader();

  /// `fill` writes `bytes`, at most piece_bytes, of pinned memory, which go to `to`. It runs later in another thread;
  /// what it reads must stay until finish(). Waits while the threads are far behind.
  void send(void* to, std::size_t bytes, std::function<void(std::byte*)> fill);
  /// `keep` holds `from` until it is sent; null if `from` stays anyway.
  void copy(void* to, const void* from, std::size_t bytes, const std::shared_ptr<const void>& keep = nullptr);
  /// For what is gone soon: returns when it is sent.
  void copy_now(void* to, const void* from, std::size_t bytes);
  /// Returns when everything is on the device. The last call.
  void finish() { stop(false); }
  /// Gives up what has not been sent: afterwards nothing writes to the device any more. The last call.
  void drop() { stop(true); }

 private:
  struct job {
    void* to;
    std::size_t bytes;
    std::function<void(std::byte*)> fill;
  };

  void work(std::byte* room);
  bool take(job& next);
  void stop(bool drop);

  int device_ = 0;
  std::unique_ptr<pinned_scratch<std::byte>> memory_; // two pieces a thread
  std::mutex mutex_;
  std::condition_variable more_, fewer_;
  std::deque<job> jobs_;
  bool closed_ = false;
  std::vector<std::jthread> threads_; // last: they use everything above
};

} // namespace troupe::exec
