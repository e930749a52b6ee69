// MLA attention of many rows in its naive form (model-spec.md 6.2): keys and values of every head are expanded from the
// latents first. Asynchronous, allocates nothing. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// One sequence: `rows` query rows are its newest positions. Device pointers, 16-byte aligned, bf16.
struct mla_prefill_args {
  const std::uint16_t* q = nullptr;  ///< [rows, heads, 192]: 128 plain and 64 rotated channels
  const std::uint16_t* kv = nullptr; ///< [positions, heads, 256]: 128 of the key, 128 of the value, as kv_b gives them
  const std::uint16_t* rope = nullptr; ///< [positions, 64], rows `rope_pitch` apart: rotated key, shared by all heads
  std::uint16_t* out = nullptr;        ///< [rows, heads, 128]
  float scale = 0;                     ///< of the scores, before softmax
  int rows = 0, positions = 0, heads = 0;
  int rope_pitch = 64; ///< elements; a multiple of 8
};

/// Row i sees positions 0 .. positions - rows + i. positions >= rows.
cudaError_t mla_prefill(const mla_prefill_args& args, cudaStream_t stream);

} // namespace troupe::cuda
