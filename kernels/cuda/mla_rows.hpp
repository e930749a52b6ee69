// What stands between the projections and mla_decode: rotation of queries, and norm, rotation and paged append of the
// latent entry (model-spec.md 5.4 and 6). Plain C++ header.
#pragma once

#include "kernels/cache_format.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// Device pointers. cos and sin [tokens, 32] belong to the tokens' positions and hold the attention factor.
struct mla_rows_args {
  const float* q = nullptr;       ///< [tokens, heads, nope + 64]
  const float* entry = nullptr;   ///< [tokens, 576]: latent and key, as projected
  std::int64_t entry_pitch = 576; ///< floats from one token's entry to the next
  const float* norm = nullptr;    ///< [512] kv_a_layernorm
  const float* cos = nullptr;
  const float* sin = nullptr;
  const int* slots = nullptr;      ///< [tokens] page * 64 + position % 64
  std::uint16_t* q_nope = nullptr; ///< out [tokens, heads, nope] bf16, heads q_nope_pitch apart
  std::uint16_t* q_rope = nullptr; ///< out [tokens, heads, 64] bf16, rotated, heads q_rope_pitch apart
  int q_nope_pitch = 0;            ///< elements; even, as q_rope_pitch
  int q_rope_pitch = 0;
  void* cache = nullptr; ///< out [pages, 64] entries of `format`: one a token
  kernels::cache_format format = kernels::cache_format::plain;
  int tokens = 0;
  int heads = 0;
  int nope = 0; ///< a multiple of 2
  float eps = 1e-6f;
  bool interleaved = true; ///< pairs (2i, 2i+1), else (i, i+32); rotated in place
};

cudaError_t mla_rows(const mla_rows_args& args, cudaStream_t stream);

} // namespace troupe::cuda
