// The end of a product whose K is cut among the CTAs of a cluster: every CTA has left its part of a strip of outputs in
// shared memory, and all add them in order and store.
#pragma once

#include "kernels/cuda/common/cluster.cuh"

#include <cuda_bf16.h>

namespace troupe::cuda {

/// Parts [Tokens][Rows] of one CTA, padded so that four floats of a token lie in other banks than the next token's.
template <int Tokens, int Rows>
using strip_parts = float[Tokens][Rows + 4];

/// Outputs row..row+3 to y[at]..; Args has y, bias, rows and out (bf16, f32 or add_f32).
template <class Args>
__device__ void store_four(const Args& args, std::size_t at, int row, const float4& four) {
  using kind = decltype(args.out);
  const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
  for (int i = 0; i < 4; ++i, ++row, ++at) {
    if (row >= args.rows) return;
    const float value = args.bias ? values[i] + args.bias[row] : values[i];
    if (args.out == kind::bf16)
      static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(value);
    else if (args.out == kind::f32)
      static_cast<float*>(args.y)[at] = value;
    else
      static_cast<float*>(args.y)[at] += value;
  }
}

/// CTA `split` of `splits` adds and stores its share of the strip's rows, four a thread: y[y_at] is row 0 of the
/// strip's first token. Between two cluster_syncs, by `Threads` threads.
template <int Threads, int Tokens, int Rows, class Args>
__device__ void add_parts(const float (&parts)[Tokens][Rows + 4], const Args& args, std::size_t y_at, int first_row,
                          int tokens, int split, int splits) {
  const int quads = Rows / splits / 4;
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
