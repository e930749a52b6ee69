// FP8 products of many rows, for prefill: one matrix, or one matrix an expert over rows sorted by expert. Activations
// are quantised 1x128, weights 128x128. Asynchronous, allocates nothing, segments are read on the device. Plain C++.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// Device pointers, 16-byte aligned.
struct prefill_gemm_args {
  const std::uint8_t* x = nullptr;       ///< [rows, cols] e4m3
  const float* x_scales = nullptr;       ///< [cols / 128, scale_pitch], the first `rows` of each line used
  const std::uint8_t* weights = nullptr; ///< [experts, outputs, cols] e4m3
  const float* weight_scales = nullptr;  ///< [experts, ceil(outputs / 128), cols / 128]
  const int* segments = nullptr; ///< [experts + 1] ascending; expert e multiplies rows [segments[e], segments[e + 1])
  std::uint16_t* y = nullptr;    ///< [rows, outputs] bf16
  int rows = 0, scale_pitch = 0; ///< scale_pitch % 4 == 0
  int experts = 1, outputs = 0, cols = 0; ///< outputs % 8 == 0, cols % 128 == 0
};

/// y[r] = W[expert of r] x[r]; rows outside every segment are left alone.
cudaError_t prefill_gemm(const prefill_gemm_args& args, cudaStream_t stream);

/// middle [rows, width] e4m3 and scales [width / 128, scale_pitch] = quantise(silu(g) * u) of h [rows, 2 * width] bf16,
/// whose rows are g, then u. width % 128 == 0.
cudaError_t swiglu_quantise(const std::uint16_t* h, int rows, int width, int scale_pitch, std::uint8_t* middle,
                            float* scales, cudaStream_t stream);

} // namespace troupe::cuda
