// Weights from the pages of a mapped file to the device, at the speed of the file: a pool of threads reads a stretch
// into pinned memory while the copy engine empties the stretch before.
#pragma once

#include "kernels/cpu/thread_pool.hpp"
#include "runtime/exec/cuda/device.hpp"

namespace troupe::exec {

/// One caller at a time. Made once for a whole role: pinning memory takes milliseconds.
class uploader {
 public:
  static constexpr std::size_t chunk_bytes = std::size_t{16} << 20;

  uploader();
  ~uploader();

  /// Copies `bytes` to the device; `from` may be changed at once, `to` is there after finish().
  void copy(void* to, const void* from, std::size_t bytes);
  /// Pinned room for `bytes`, at most chunk_bytes, to be filled and sent: for weights that change on the way.
  std::byte* reserve(std::size_t bytes);
  /// Sends what was reserved last.
  void send(void* to);
  void finish() { stream_.wait(); }

  cudaStream_t stream() const { return stream_; }
  kernels::thread_pool& pool() { return pool_; }

 private:
  struct chunk {
    pinned_scratch<std::byte> memory;
    cudaEvent_t sent{}; ///< everything before the switch to the next chunk
  };

  kernels::thread_pool pool_;
  cuda_stream stream_;
  chunk chunks_[2];
  int current_ = 0;
  std::size_t used_ = 0;                             // bytes of the current chunk
  std::size_t reserved_at_ = 0, reserved_bytes_ = 0; // last reserve()
};

} // namespace troupe::exec
