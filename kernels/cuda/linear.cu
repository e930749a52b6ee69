// Math      y[t,n] = sum_b scale[n/128,b] (sum_{k in block b} W[n,k] x[t,k]) (+ bias[n]), e4m3 W in blocks of 128;
//           y[t,n] = sum_k W[n,k] x[t,k] for bf16 W; fp32 sums
// Shapes    W [rows, cols], x [tokens, cols] bf16, y [tokens, rows] bf16 or f32; any rows and tokens
// Roofline  decode: W is read once, e.g. 7168 x 16384 e4m3 = 117 MB: 26 us at 4.5 TB/s; widening e4m3 takes 5
//           instructions a pair, 0.4 of the issue slots at that rate. Prefill is bounded by L2, which gives every 16
//           weight rows all of x again: about 140 TFLOP/s. Right first; wide tiles are another kernel's
// Mapping   one warp per 16 weight rows and K part, weights on the M side of mma.sync; the K blocks of a strip go round
//           robin to `parts` warps (1, 2, 4, 8: by cols alone), whose sums are added in order through shared memory
// Invariant the order of additions depends on cols only: bits of a row are the same in any batch, tile or group
// Rejected  activations in e4m3 too (W8A8): no faster while memory bound, and it cost one of 50 greedy continuations of
//           the demo model (97.8 % of the CPU's tokens, which an emulation reproduced token by token)
// Source    model-spec.md section 9
#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/path.hpp"
#include "kernels/cuda/sm90_linear.hpp"

#include <cuda_bf16.h>

namespace troupe::cuda {
namespace {

constexpr int warps = 8;
constexpr int strip_rows = 16;
constexpr int few_tokens = 8;    // memory bound, and faster than wide_linear
constexpr int block_bytes = 128; // of W along K, of one step of a warp: one scale block of e4m3, 64 channels of bf16

/// 16 weight rows of one block: two 64-byte chunks of each row.
struct weight_block {
  uint4 low[2], high[2]; // rows 0..7 and 8..15
  __device__ void load(const std::uint8_t* row_low, const std::uint8_t* row_high, int block) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      low[c] = __ldg(reinterpret_cast<const uint4*>(row_low + std::size_t(block) * block_bytes + c * 64));
      high[c] = __ldg(reinterpret_cast<const uint4*>(row_high + std::size_t(block) * block_bytes + c * 64));
    }
  }
};

/// sum += chunk c of the block times the tokens of `x`, which points at the lane's first channel of the chunk.
template <bool Fp8>
__device__ void multiply_chunk(mma::tile& sum, const uint4& low, const uint4& high, const __nv_bfloat16* x) {
  const auto* from = reinterpret_cast<const uint4*>(x);
  if constexpr (Fp8) {
    mma::multiply(sum, mma::widen(low.x, low.y), mma::widen(high.x, high.y), from[0]);
    mma::multiply(sum, mma::widen(low.z, low.w), mma::widen(high.z, high.w), from[1]);
  } else {
    mma::multiply(sum, low, high, from[0]);
  }
}

/// Sums of one warp: its K blocks of 16 weight rows and 8 * Tiles tokens from `first_token` on.
template <bool Fp8, int Tiles>
__device__ void multiply_strip(const linear_args& args, int group, int first_row, int first_token, int tokens, int part,
                               int parts, mma::tile (&total)[Tiles]) {
  constexpr int element_bytes = Fp8 ? 1 : 2;
  constexpr int chunk_channels = 64 / element_bytes, lane_channels = chunk_channels / 4;
  const int row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4;
  const int blocks = args.cols * element_bytes / block_bytes;
  const std::size_t row_bytes = std::size_t(args.cols) * element_bytes;
  const auto* w = static_cast<const std::uint8_t*>(args.weights) + group * args.rows * row_bytes + quarter * 16;
  const auto* low = w + min(first_row + row, args.rows - 1) * row_bytes;
  const auto* high = w + min(first_row + row + 8, args.rows - 1) * row_bytes;
  const float* scales = args.scales + (std::size_t(group) * ((args.rows + 127) / 128) + first_row / 128) * blocks;
  const auto* all = reinterpret_cast<const __nv_bfloat16*>(args.x) + group * args.x_group + quarter * lane_channels;
  const __nv_bfloat16* x[Tiles];
#pragma unroll
  for (int i = 0; i < Tiles; ++i) x[i] = all + min(first_token + 8 * i + row, tokens - 1) * args.x_pitch;

  weight_block now, next;
  if (part < blocks) now.load(low, high, part);
  for (int b = part; b < blocks; b += parts) {
    if (b + parts < blocks) next.load(low, high, b + parts);
    mma::tile fresh[Tiles] = {}; // of one scale block
#pragma unroll
    for (int c = 0; c < 2; ++c)
#pragma unroll
      for (int i = 0; i < Tiles; ++i)
        multiply_chunk<Fp8>(Fp8 ? fresh[i] : total[i], now.low[c], now.high[c],
                            x[i] + (std::size_t(b) * 2 + c) * chunk_channels);
    if constexpr (Fp8) {
      const float scale = __ldg(scales + b);
#pragma unroll
      for (int i = 0; i < Tiles * 4; ++i) total[i / 4][i % 4] = fmaf(scale, fresh[i / 4][i % 4], total[i / 4][i % 4]);
    }
    now = next;
  }
}

__device__ void store(const linear_args& args, std::int64_t at, int row, float value) {
  if (args.bias) value += args.bias[row];
  if (args.out == linear_out::bf16)
    static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(value);
  else if (args.out == linear_out::f32)
    static_cast<float*>(args.y)[at] = value;
  else
    static_cast<float*>(args.y)[at] += value;
}

template <bool Fp8, int Tiles>
__global__ void __launch_bounds__(warps * 32) linear_kernel(const linear_args args, int parts) {
  __shared__ float sums[warps][Tiles * 4][32];
  const int group = blockIdx.z, first_token = blockIdx.y * 8 * Tiles;
  const int tokens = args.group_tokens ? args.group_tokens[group] : args.tokens;
  if (first_token >= tokens) return;
  const int warp = threadIdx.x / 32, strips = warps / parts, first_row = blockIdx.x * strips * strip_rows;

  mma::tile total[Tiles] = {};
  multiply_strip<Fp8, Tiles>(args, group, min(first_row + warp / parts * strip_rows, args.rows - 1), first_token,
                             tokens, warp % parts, parts, total);
#pragma unroll
  for (int i = 0; i < Tiles * 4; ++i) sums[warp][i][threadIdx.x % 32] = total[i / 4][i % 4];
  __syncthreads();

  for (int i = threadIdx.x; i < strips * Tiles * 8 * strip_rows; i += warps * 32) {
    const int r = i % strip_rows, t = i / strip_rows % (8 * Tiles), strip = i / (strip_rows * 8 * Tiles);
    const int row = first_row + strip * strip_rows + r, token = first_token + t;
    if (row >= args.rows || token >= tokens) continue;
    const int element = t / 8 * 4 + r / 8 * 2 + t % 2, lane = r % 8 * 4 + t % 8 / 2;
    float sum = sums[strip * parts][element][lane];
    for (int p = 1; p < parts; ++p) sum += sums[strip * parts + p][element][lane];
    store(args, group * args.y_group + token * args.y_pitch + row, row, sum);
  }
}

template <bool Fp8, int Tiles>
cudaError_t launch(const linear_args& args, cudaStream_t stream) {
  const int blocks = args.cols * (Fp8 ? 1 : 2) / block_bytes;
  const int parts = blocks >= 8 ? 8 : blocks >= 4 ? 4 : blocks >= 2 ? 2 : 1;
  const int rows_of_cta = warps / parts * strip_rows;
  const dim3 grid((args.rows + rows_of_cta - 1) / rows_of_cta, (args.tokens + 8 * Tiles - 1) / (8 * Tiles),
                  args.groups);
  linear_kernel<Fp8, Tiles><<<grid, warps * 32, 0, stream>>>(args, parts);
  return cudaGetLastError();
}

template <bool Fp8>
cudaError_t launch_for(const linear_args& args, cudaStream_t stream) {
  if (args.tokens <= 8) return launch<Fp8, 1>(args, stream);
  if (args.tokens <= 16) return launch<Fp8, 2>(args, stream);
  if (args.tokens <= 32) return launch<Fp8, 4>(args, stream);
  return launch<Fp8, 8>(args, stream);
}

} // namespace

cudaError_t linear(const linear_args& args, cudaStream_t stream) {
  const bool fp8 = args.scales != nullptr;
  if (args.cols <= 0 || args.cols % (fp8 ? 128 : 64) || args.x_pitch % 8 || args.x_group % 8)
    return cudaErrorInvalidValue;
  if (args.rows == 0 || args.tokens == 0 || args.groups == 0) return cudaSuccess;
  if (current_path() == kernel_path::hopper)
    return args.batch_invariant || args.tokens <= few_tokens ? sm90_linear(args, stream) : wide_linear(args, stream);
  return fp8 ? launch_for<true>(args, stream) : launch_for<false>(args, stream);
}

} // namespace troupe::cuda
