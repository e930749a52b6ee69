// CUDA's statuses, memory and copies in this project's words. While loading, a failure is a result; inside a step it is
// a broken device, which stops the process: the context is lost and the supervisor starts a fresh one.
#pragma once

#include "runtime/core/result.hpp"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace troupe::exec {

/// Stops the process when `status` is an error.
inline void must(cudaError_t status, const char* what = "a CUDA call failed in the middle of a step") {
  if (status != cudaSuccess) [[unlikely]]
    invariant_broken(std::string(what) + ": " + cudaGetErrorString(status), __FILE__, __LINE__);
}

struct cuda_device {
  int index = 0;
  std::string name; ///< "cuda/sm_90a", or "cuda/sm_80" on the plain path (kernels/cuda/path.hpp)
  std::string card; ///< "NVIDIA H200"
  /// CUDA's current device belongs to the thread; engines may be called from any one.
  void enter() const { must(cudaSetDevice(index)); }
};

/// Errors: unsupported (no driver, no GPU, or one without the kernels' instructions).
result<cuda_device> open_cuda(int index);

/// Device memory, freed with its owner.
class device_memory {
 public:
  static constexpr std::size_t spare_bytes = 512;
  device_memory() = default;
  /// Errors: overloaded. At least spare_bytes more than asked for are addressable: kernels copy whole tiles.
  static result<device_memory> allocate(std::size_t bytes);
  device_memory(device_memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  device_memory& operator=(device_memory&& other) noexcept {
    std::swap(data_, other.data_), std::swap(size_, other.size_);
    return *this;
  }
  ~device_memory() {
    if (data_) cudaFree(data_);
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

/// How often device_scratch has moved in this process: who keeps its addresses looks whether they still hold.
inline std::atomic<std::uint64_t> scratch_growths = 0;

/// Memory of a step: grows to the largest step seen. What it held is lost when it grows.
template <class T>
class device_scratch {
 public:
  T* reserve(std::size_t count) {
    if (memory_.size() < count * sizeof(T)) {
      memory_ = {};
      auto grown = device_memory::allocate(count * sizeof(T));
      invariant(grown.has_value(), "no device memory for a step; a smaller --kv-cache-ratio leaves more");
      memory_ = std::move(*grown);
      ++scratch_growths;
    }
    return memory_.as<T>();
  }
  T* get() const { return memory_.as<T>(); }

 private:
  device_memory memory_;
};

/// Pinned host memory: copies from and to it run beside the host's work.
template <class T>
class pinned_scratch {
 public:
  pinned_scratch() = default;
  pinned_scratch(const pinned_scratch&) = delete;
  pinned_scratch& operator=(const pinned_scratch&) = delete;
  ~pinned_scratch() { cudaFreeHost(data_); }

  T* reserve(std::size_t count) {
    if (count_ < count) {
      cudaFreeHost(std::exchange(data_, nullptr));
      must(cudaMallocHost(reinterpret_cast<void**>(&data_), count * sizeof(T)), "no pinned host memory");
      count_ = count;
    }
    return data_;
  }
  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

class cuda_stream {
 public:
  cuda_stream() { must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~cuda_stream() { cudaStreamDestroy(stream_); }
  cuda_stream(const cuda_stream&) = delete;
  cuda_stream& operator=(const cuda_stream&) = delete;

  operator cudaStream_t() const { return stream_; }
  void wait() const { must(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

class cuda_event {
 public:
  /// cudaEventDisableTiming for one that only orders streams.
  explicit cuda_event(unsigned flags = cudaEventDefault) { must(cudaEventCreateWithFlags(&event_, flags)); }
  ~cuda_event() { cudaEventDestroy(event_); }
  cuda_event(const cuda_event&) = delete;
  cuda_event& operator=(const cuda_event&) = delete;

  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// GB/s of the best of some passes that read `bytes` of device memory and keep nothing. Errors: overloaded.
result<double> cuda_read_gbs(std::size_t bytes);

} // namespace troupe::exec
