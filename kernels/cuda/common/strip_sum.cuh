// The end of a product whose K is cut among the CTAs of a cluster: every CTA has left its part of a strip of outputs in
// shared memory, and all add them in order and store.
#pragma once

#include "kernels/cuda/common/cluster.cuh"

#include <cuda_bf16.h>

#include <cstdint>

namespace troupe::cuda {

/// Parts [Tokens][Rows] of one CTA, padded so that four floats of a token lie in other banks than the next token's.
template <int Tokens, int Rows>
using strip_parts = float[Tokens][Rows + 4];

/// Outputs row..row+3 to y[at]..; Args has y, bias, rows and out (bf16, f32 or add_f32).
template <class Args>
__device__ void store_four(const Args& args, std::size_t at, int row, const float4& four) {
  using kind = decltype(args.out);
  float values[4] = {four.x, four.y, four.z, four.w};
  if (args.bias)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (row + i < args.rows) values[i] += args.bias[row + i];
  if (args.out == kind::bf16 && row + 4 <= args.rows) { // in one store, mostly
    auto* to = static_cast<__nv_bfloat162*>(args.y) + at / 2;
    if (at % 2 == 0 && reinterpret_cast<std::uintptr_t>(to) % sizeof(uint2) == 0) {
      const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(values[0], values[1]),
                                       __floats2bfloat162_rn(values[2], values[3])};
      *reinterpret_cast<uint2*>(to) = reinterpret_cast<const uint2&>(pairs);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i, ++row, ++at) {
    if (row >= args.rows) return;
    if (args.out == kind::bf16)
      static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(values[i]);
    else if (args.out == kind::f32)
      static_cast<float*>(args.y)[at] = values[i];
    else
      static_cast<float*>(args.y)[at] += values[i];
  }
}

/// CTA `split` of `splits` adds and stores its share of the strip's rows, four a thread: y[y_at] is row 0 of the
/// strip's first token. By `Threads` threads, between two cluster_syncs, or behind a barrier of the CTA if it is alone.
template <int Threads, int Tokens, int Rows, class Args>
__device__ void add_parts(const float (&parts)[Tokens][Rows + 4], const Args& args, std::size_t y_at, int first_row,
                          int tokens, int split, int splits) {
  const int quads = Rows / splits / 4;
  if (splits == 1) { // nothing to add: divisions by a constant, loads that overlap
#pragma unroll 8
    for (int i = threadIdx.x; i < Rows / 4 * tokens; i += Threads) {
      const int r = i % (Rows / 4) * 4, t = i / (Rows / 4);
      store_four(args, y_at + t * std::size_t(args.y_pitch) + r, first_row + r,
                 *reinterpret_cast<const float4*>(&parts[t][r]));
    }
    return;
  }
#pragma unroll 4
  for (int i = threadIdx.x; i < quads * tokens; i += Threads) {
    const int r = (split * quads + i % quads) * 4, t = i / quads;
    float4 sum = {};
    for (int other = 0; other < splits; ++other) {
      const float4 part = ptx::load_from(reinterpret_cast<const float4*>(&parts[t][r]), other);
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    store_four(args, y_at + t * std::size_t(args.y_pitch) + r, first_row + r, sum);
  }
}

} // namespace troupe::cuda
