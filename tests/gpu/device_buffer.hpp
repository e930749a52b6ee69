// Device memory for tests: filled from the host, poisoned with 0xFF (NaN in every format) where nothing was given. As
// exec::device_memory, with some bytes behind: kernels copy whole tiles.
#pragma once

#include "kernels/cuda/path.hpp"

#include <boost/test/unit_test.hpp>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace troupe::test {

/// Whether the Hopper kernels run; TROUPE_CUDA_PATH=plain says no on any GPU.
inline boost::test_tools::assertion_result needs_hopper(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result yes(cuda::path_of(0) == cuda::kernel_path::hopper);
  yes.message() << "no Hopper GPU";
  return yes;
}

inline boost::test_tools::assertion_result needs_gpu(boost::unit_test::test_unit_id) {
  int major = 0;
  const auto status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  boost::test_tools::assertion_result yes(status == cudaSuccess && major >= 8);
  yes.message() << "no GPU of sm_80 or newer";
  return yes;
}

/// The paths that this GPU runs.
inline std::vector<cuda::kernel_path> paths_here() {
  if (cuda::path_of(0) == cuda::kernel_path::plain) return {cuda::kernel_path::plain};
  return {cuda::kernel_path::plain, cuda::kernel_path::hopper};
}

template <class T>
class device_buffer {
  static constexpr std::size_t slack = 512;

 public:
  explicit device_buffer(std::size_t count) : count_(count) {
    BOOST_REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + slack) == cudaSuccess);
    BOOST_REQUIRE(cudaMemset(data_, 0xFF, count * sizeof(T) + slack) == cudaSuccess);
    BOOST_REQUIRE(cudaDeviceSynchronize() ==
                  cudaSuccess); // streams that do not wait for the null stream may write next
  }
  explicit device_buffer(const std::vector<T>& host) : device_buffer(host.size()) {
    BOOST_REQUIRE(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~device_buffer() { cudaFree(data_); }
  device_buffer(const device_buffer&) = delete;
  device_buffer& operator=(const device_buffer&) = delete;

  T* get() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> out(count_);
    BOOST_REQUIRE(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return out;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

} // namespace troupe::test
