// y = x Wᵀ of few rows with FP8 weights and FP8 activations on Hopper, at the speed of the weights' bytes.
// Asynchronous, allocates nothing. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

enum class fp8_linear_out { bf16, f32, add_f32 }; ///< add_f32: y += x Wᵀ, the residual stream

/// Device pointers, 16-byte aligned. Any rows and tokens; above 64 tokens prefill_gemm is the faster one.
struct fp8_linear_args {
  const std::uint8_t* weights = nullptr; ///< [rows, cols] e4m3
  const float* scales = nullptr;         ///< [ceil(rows / 128), cols / 128]
  const float* bias = nullptr;           ///< [rows], added to the product; may be null
  const std::uint8_t* x = nullptr;       ///< [tokens, cols] e4m3
  const float* x_scales = nullptr;       ///< [tokens, cols / 128]
  void* y = nullptr;                     ///< [tokens, rows], tokens `y_pitch` elements apart
  fp8_linear_out out = fp8_linear_out::f32;
  std::int64_t y_pitch = 0;
  int rows = 0, cols = 0, tokens = 0; ///< cols % 128 == 0, at most 49152
};

/// CTAs that share one strip of 128 weight rows, each a range of K: 1, 2, 4 or 8. Pure; ignores tokens, so that a row's
/// bits don't depend on its batch.
int fp8_linear_splits(int rows, int cols);

cudaError_t fp8_linear(const fp8_linear_args& args, cudaStream_t stream);

} // namespace troupe::cuda
