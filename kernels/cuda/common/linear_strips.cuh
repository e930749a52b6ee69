// What the two kernels of `linear` share: how K is cut, where weights lie, and the product of one block. Both add the
// same numbers in the same order, so that a row gets the same bits from either.
#pragma once

#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/linear.hpp"

#include <cuda_bf16.h>

namespace troupe::cuda::strips {

constexpr int warps = 8;
constexpr int threads = warps * 32;
constexpr int strip_rows = 16;
constexpr int block_bytes = 128; // of W along K, of one step of a warp: one scale block of e4m3, 64 channels of bf16

/// What all CTAs of one launch share.
struct plan {
  linear_args args;
  int blocks;    // along K
  int parts;     // of K, blocks go to them round robin: a function of cols alone
  bool x_shared; // few tokens: one group, and its tokens fit into shared memory
};

/// 16 weight rows of one block: two 64-byte chunks of each row, as a lane multiplies them.
struct weight_block {
  uint4 low[2], high[2]; // rows 0..7 and 8..15
  float scale;
};

__device__ inline int tokens_of(const linear_args& args, int group) {
  return args.group_tokens ? args.group_tokens[group] : args.tokens;
}

/// What the lanes of one warp copy of one block; no lane reads what another one copied.
struct ring_slot {
  uint4 weights[4][32];
  float scale[32]; // the same for all; cold scales fetched in time, not one memory latency after the other
};

__device__ inline void copy_async(uint4* to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(ptx::shared_address(to)), "l"(from)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for all but the newest `Left` groups of this thread's copies.
template <int Left>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

/// Where the lane's bytes of 16 weight rows lie.
template <bool Fp8>
struct weight_rows {
  const std::uint8_t *low = nullptr, *high = nullptr;
  const float* scales = nullptr;
  __device__ void aim(const plan& p, int group, int first_row) {
    const auto& args = p.args;
    const int row = first_row + int(threadIdx.x % 32) / 4, quarter = threadIdx.x % 4;
    const std::size_t row_bytes = std::size_t(args.cols) * (Fp8 ? 1 : 2);
    const auto* w = static_cast<const std::uint8_t*>(args.weights) + group * args.rows * row_bytes + quarter * 16;
    low = w + min(row, args.rows - 1) * row_bytes, high = w + min(row + 8, args.rows - 1) * row_bytes;
    if (Fp8) scales = args.scales + (std::size_t(group) * ((args.rows + 127) / 128) + first_row / 128) * p.blocks;
  }
  /// The lane's part of block b.
  __device__ void copy(ring_slot& to, int b) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      copy_async(&to.weights[c][lane], low + std::size_t(b) * block_bytes + c * 64);
      copy_async(&to.weights[2 + c][lane], high + std::size_t(b) * block_bytes + c * 64);
    }
    if constexpr (Fp8)
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(ptx::shared_address(&to.scale[lane])),
                   "l"(scales + b)
                   : "memory");
  }
  static __device__ weight_block read(const ring_slot& from) {
    const int lane = threadIdx.x % 32;
    const auto& w = from.weights;
    return {{w[0][lane], w[1][lane]}, {w[2][lane], w[3][lane]}, Fp8 ? from.scale[lane] : 1.0f};
  }
};

/// 16-byte pieces of a token that belong to one block, and to one chunk.
template <bool Fp8>
constexpr int block_pieces = Fp8 ? 16 : 8;
template <bool Fp8>
constexpr int chunk_pieces = block_pieces<Fp8> / 2;

/// total += the block times 8 * Tiles tokens. `piece(i, n)` is piece n of the block of the lane's token of tile i.
template <bool Fp8, int Tiles, class Piece>
__device__ void multiply_block(mma::tile (&total)[Tiles], const weight_block& w, Piece piece) {
  const int quarter = threadIdx.x % 4;
  mma::tile fresh[Tiles] = {}; // of one scale block
#pragma unroll
  for (int c = 0; c < 2; ++c)
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const uint4 &low = w.low[c], &high = w.high[c];
      if constexpr (Fp8) {
        const int first = c * chunk_pieces<true> + quarter * 2;
        mma::multiply(fresh[i], mma::widen(low.x, low.y), mma::widen(high.x, high.y), piece(i, first));
        mma::multiply(fresh[i], mma::widen(low.z, low.w), mma::widen(high.z, high.w), piece(i, first + 1));
      } else {
        mma::multiply(total[i], low, high, piece(i, c * chunk_pieces<false> + quarter));
      }
    }
  if constexpr (Fp8) {
#pragma unroll
    for (int i = 0; i < Tiles * 4; ++i) total[i / 4][i % 4] = fmaf(w.scale, fresh[i / 4][i % 4], total[i / 4][i % 4]);
  }
}

__device__ inline void store(const linear_args& args, std::int64_t at, int row, float value) {
  if (args.bias) value += args.bias[row];
  if (args.out == linear_out::bf16)
    static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(value);
  else if (args.out == linear_out::f32)
    static_cast<float*>(args.y)[at] = value;
  else
    static_cast<float*>(args.y)[at] += value;
}

} // namespace troupe::cuda::strips

namespace troupe::cuda {

/// More than eight tokens (sm90_linear_many.cu).
cudaError_t linear_many(const strips::plan& p, cudaStream_t stream);

} // namespace troupe::cuda
