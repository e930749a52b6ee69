// Device memory for tests: filled from the host, poisoned with 0xFF (NaN in every format) where nothing was given.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace troupe::test {

inline bool has_hopper() {
  int major = 0;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && major == 9;
}

inline boost::test_tools::assertion_result needs_hopper(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result yes(has_hopper());
  yes.message() << "no Hopper GPU";
  return yes;
}

template <class T>
class device_buffer {
 public:
  explicit device_buffer(std::size_t count) : count_(count) {
    BOOST_REQUIRE(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T) + 16) == cudaSuccess);
    BOOST_REQUIRE(cudaMemset(data_, 0xFF, count * sizeof(T) + 16) == cudaSuccess);
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
