// Logits of a step. They stay on the device until somebody asks for one: 0.5 MB a row of R1's vocabulary.
#pragma once

#include "kernels/cuda/rows.hpp"
#include "runtime/exec/cuda/device.hpp"

#include <cstdint>
#include <span>

namespace troupe::exec {

class device_logits {
 public:
  /// Device memory for rows [count, width] that are about to be computed.
  float* reserve(std::size_t count, std::size_t width) {
    width_ = width;
    return device_.reserve(count * width);
  }
  /// A pass that computes the first `count` of them was launched.
  void renew(std::size_t count) { count_ = count, is_here_ = has_best_ = false; }
  std::size_t count() const { return count_; }
  float* on_device() const { return device_.get(); }

  /// Best of row i, or -1 (cuda::argmax_rows); all rows' are found at the first call.
  std::int32_t best(const cuda_device& device, std::int32_t i, cudaStream_t stream) {
    if (!has_best_) {
      device.enter();
      auto* ids = ids_.reserve(count_);
      auto* host = host_ids_.reserve(count_);
      const auto width = static_cast<int>(width_);
      must(cuda::argmax_rows(device_.get(), static_cast<int>(count_), width, width, ids, stream));
      must(cudaMemcpyAsync(host, ids, count_ * sizeof(int), cudaMemcpyDeviceToHost, stream));
      must(cudaStreamSynchronize(stream));
      has_best_ = true;
    }
    return host_ids_.get()[i];
  }

  /// Row i of the last pass, which has ended; all of them are copied when the first is asked for.
  std::span<const float> row(const cuda_device& device, std::int32_t i) const {
    if (!is_here_) {
      device.enter();
      auto* to = host_.reserve(count_ * width_);
      must(cudaMemcpy(to, device_.get(), count_ * width_ * sizeof(float), cudaMemcpyDeviceToHost));
      is_here_ = true;
    }
    return {host_.get() + static_cast<std::size_t>(i) * width_, width_};
  }

 private:
  device_scratch<float> device_;
  mutable pinned_scratch<float> host_;
  std::size_t count_ = 0, width_ = 0;
  mutable bool is_here_ = false;
  device_scratch<int> ids_;
  pinned_scratch<int> host_ids_;
  bool has_best_ = false; // host_ids_ are of this pass
};

} // namespace troupe::exec
