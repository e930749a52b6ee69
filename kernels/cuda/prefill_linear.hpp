// Products of many tokens on Hopper in bf16, for prompt chunks without batch invariance: weights are widened once, and
// then multiplied at the rate of the tensor cores, where `linear` widens them anew for every 64 tokens. Asynchronous,
// allocate nothing. Plain C++ header.
#pragma once

#include "kernels/cuda/linear.hpp"

namespace troupe::cuda {

/// wide [rows, cols] bf16 = weights [rows, cols] e4m3 times scales [ceil(rows / 128), cols / 128], rounded; cols % 128
/// == 0. Device pointers, 16-byte aligned.
cudaError_t widen_weights(const std::uint8_t* weights, const float* scales, int rows, int cols, std::uint16_t* wide,
                          cudaStream_t stream);

/// As `linear` with bf16 weights, one group and cols % 64 == 0; y_pitch is even. Other bits than `linear`; a row's do
/// not depend on the others.
cudaError_t prefill_linear(const linear_args& args, cudaStream_t stream);

} // namespace troupe::cuda
