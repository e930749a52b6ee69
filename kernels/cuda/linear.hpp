// y = x Wᵀ for the projections of one step: FP8 weights with 128x128 scales or BF16 weights, times BF16 activations.
// One kernel for single matrices, for one matrix per head (absorbed MLA) and for one per expert. A row's bits depend on
// that row, the weights and K only. Asynchronous, allocates nothing. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

enum class linear_out { bf16, f32, add_f32 }; ///< add_f32: y += x Wᵀ, the residual stream

/// Device pointers; x, W and their pitches are multiples of 16 bytes.
struct linear_args {
  const void* weights = nullptr;    ///< [groups, rows, cols] e4m3 or bf16
  const float* scales = nullptr;    ///< e4m3: [groups, ceil(rows / 128), cols / 128]; null: bf16
  const float* bias = nullptr;      ///< [rows], added to the product; may be null
  const std::uint16_t* x = nullptr; ///< bf16; token t of group g starts at g * x_group + t * x_pitch
  void* y = nullptr;                ///< y[g * y_group + t * y_pitch + row]
  linear_out out = linear_out::f32;
  std::int64_t x_pitch = 0, x_group = 0, y_pitch = 0, y_group = 0; ///< in elements
  int rows = 0;                                                    ///< outputs
  int cols = 0;                                                    ///< e4m3: a multiple of 128; bf16: of 64
  int tokens = 0;                                                  ///< of every group, or at most so many of one
  int groups = 1;
  const int* group_tokens = nullptr; ///< [groups] tokens of each group, on the device; null: `tokens` each
  bool batch_invariant = true;       ///< false: more than 8 tokens may get other bits than the same tokens alone
};

cudaError_t linear(const linear_args& args, cudaStream_t stream);

} // namespace troupe::cuda
