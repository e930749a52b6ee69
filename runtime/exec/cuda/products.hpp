// Products of a step's rows with weights on the device.
#pragma once

#include "kernels/cuda/linear.hpp"
#include "runtime/exec/cuda/cuda_weights.hpp"

namespace troupe::exec {

/// Chooses how; keeps scratch memory between calls. One caller, on one stream, at a time.
class products {
 public:
  /// cuda::linear, or for many tokens that need no batch invariance cuda::prefill_linear over weights in bf16.
  void run(cuda::linear_args args, cudaStream_t stream);
  /// y [tokens, w.rows] = x wᵀ (+ bias), or y += for linear_out::add_f32; x [tokens, w.cols] bf16.
  void multiply(const device_matrix& w, const std::uint16_t* x, int tokens, void* y, cuda::linear_out out,
                const float* bias, cudaStream_t stream);

 private:
  device_scratch<std::uint16_t> widened_; // of one matrix: 528 MB for R1's dense layers
};

} // namespace troupe::exec
