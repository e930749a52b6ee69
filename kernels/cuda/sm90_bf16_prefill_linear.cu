// Math      y[t,n] = sum_k x[t,k] W[n,k] (+ bias[n]), fp32 sums;  widen: W = bf16(e4m3 code * scale of its 128x128
// block) Shapes    x [tokens, K], W [outputs, K] bf16; y [tokens, outputs] bf16 or f32, or added to f32 Roofline  2
// tokens outputs K flop at 800 TFLOP/s: 4096 x 36864 x 7168: 2.7 ms. A block of 64 channels takes 1024 cycles
//           of the tensor core and moves 144 KB through shared memory (128 bytes a cycle): 0.89 of the peak at best.
//           widen: 3 bytes a weight: 0.2 ms for the same matrix
// Mapping   as sm90_fp8_prefill_gemm: tiles of 256 tokens x 128 outputs, two CTAs of a cluster take neighbouring
// outputs
//           and multicast their common tokens, a producer warp keeps four blocks of K in flight, each of two warpgroups
//           owns 128 tokens as two products of 64; no scales, so that products of a block run on while the next begins
// Invariant a row's bits depend on that row and W only
// Measured  H200, all products of R1's slice with 512 and 4096 tokens (ncu): 610 TFLOP/s; widening 0.28 ms for 36864 x
//           7168 (2.8 TB/s)
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma_n128.cuh"
#include "kernels/cuda/prefill_linear.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int block_k = 64; // channels, 128 bytes
constexpr int tile_tokens = 256, half_tile = tile_tokens / 2;
constexpr int tile_outputs = 128;
constexpr int consumer_warps = 8;
constexpr int threads = consumer_warps * 32 + 128;
constexpr int stages = 4;

struct alignas(1024) ring_slot {
  std::uint8_t x[tile_tokens][2 * block_k]; // swizzled by the copy engine; each CTA of the pair brings half
  std::uint8_t weights[tile_outputs][2 * block_k];
};

struct shared_layout {
  ring_slot ring[stages];
  std::uint64_t full[stages], empty[stages];
};

struct tile {
  int first_token, first_output;
  bool half_full; // at most 128 tokens
};

/// Tiles of one cluster: token tiles of the same outputs are neighbours in time, so weights are read once.
struct tile_walk {
  int tokens, token_tiles, tiles, next;
  __device__ explicit tile_walk(const linear_args& args)
      : tokens(args.tokens), token_tiles((args.tokens + tile_tokens - 1) / tile_tokens),
        tiles(token_tiles * ((args.rows + 2 * tile_outputs - 1) / (2 * tile_outputs))), next(blockIdx.x / 2) {}
  __device__ bool advance(tile& t) {
    if (next >= tiles) return false;
    t.first_token = next % token_tiles * tile_tokens;
    t.first_output = (next / token_tiles * 2 + static_cast<int>(blockIdx.x % 2)) * tile_outputs;
    t.half_full = tokens - t.first_token <= half_tile;
    next += gridDim.x / 2;
    return true;
  }
};

__device__ void produce(shared_layout& s, const CUtensorMap* x, const CUtensorMap* weights, int blocks,
                        tile_walk walk) {
  const int rank = blockIdx.x % 2;
  int slot = 0;
  std::uint32_t parity = 1;
  for (tile t; walk.advance(t);)
    for (int b = 0; b < blocks; ++b) {
      auto& to = s.ring[slot];
      auto* full = &s.full[slot];
      ptx::mbarrier_wait(&s.empty[slot], parity); // both CTAs have read it
      ptx::mbarrier_expect_bytes(full, sizeof(ring_slot) - (t.half_full ? sizeof(to.x) / 2 : 0));
      if (rank == 0 || !t.half_full)
        ptx::copy_tile_multicast(to.x[rank * half_tile], x, full, b * block_k, t.first_token + rank * half_tile, 3,
                                 ptx::evict_last);
      ptx::copy_tile(to.weights, weights, full, b * block_k, t.first_output, ptx::evict_last);
      if (++slot == stages) slot = 0, parity ^= 1;
    }
}

using accumulator = float[2][64]; // two products of 64 tokens x 128 outputs

/// Product m of warpgroup g is tokens 64 (2 m + g) .. + 63: a tile of 128 tokens or less is one product of each.
template <int Products>
__device__ void multiply(shared_layout& s, int group, int blocks, int& slot, std::uint32_t& parity,
                         accumulator& total) {
  const int lane = threadIdx.x % 32;
  slot = __shfl_sync(~0u, slot, 0); // known to be the same for a warp: descriptors stay in uniform registers
  const auto release = [&](int of) {
    if (lane < 2) ptx::mbarrier_arrive_at(&s.empty[of], lane);
  };
  int before = slot;
  for (int k = 0; k < blocks; ++k) {
    const auto& from = s.ring[slot];
    ptx::mbarrier_wait(&s.full[slot], parity);
    const auto a = ptx::k_major_descriptor(from.x[group * 64]), b = ptx::k_major_descriptor(from.weights);
    ptx::wgmma_fence();
#pragma unroll
    for (int step = 0; step < block_k / 16; ++step) // 32 bytes further = 2 in descriptor units; 128 tokens = 1024
#pragma unroll
      for (int m = 0; m < Products; ++m) ptx::wgmma_bf16_n128(total[m], a + m * 1024 + step * 2, b + step * 2, 1);
    ptx::wgmma_commit();
    if (k > 0) {
      ptx::wgmma_wait<1>();
      release(before);
    }
    before = slot;
    if (++slot == stages) slot = 0, parity ^= 1;
  }
  ptx::wgmma_wait<0>();
  release(before);
#pragma unroll
  for (int m = 0; m < Products; ++m) ptx::pin(total[m]);
}

/// Two neighbouring outputs of a token.
__device__ void store_pair(const linear_args& args, int token, int output, float2 v) {
  if (args.bias) {
    v.x += args.bias[output];
    if (output + 1 < args.rows) v.y += args.bias[output + 1];
  }
  const auto at = std::size_t(token) * args.y_pitch + output;
  auto* f = static_cast<float*>(args.y) + at;
  auto* h = static_cast<__nv_bfloat16*>(args.y) + at;
  if (output + 1 == args.rows) { // an odd end
    if (args.out == linear_out::bf16)
      *h = __float2bfloat16_rn(v.x);
    else
      *f = args.out == linear_out::add_f32 ? *f + v.x : v.x;
  } else if (args.out == linear_out::bf16) {
    *reinterpret_cast<__nv_bfloat162*>(h) = __floats2bfloat162_rn(v.x, v.y);
  } else {
    auto* to = reinterpret_cast<float2*>(f);
    if (args.out == linear_out::add_f32) v.x += to->x, v.y += to->y;
    *to = v;
  }
}

__device__ void store(const linear_args& args, const tile& t, const accumulator& total) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < 64; i += 2) {
      const int token = t.first_token + m * half_tile + threadIdx.x / 32 * 16 + lane / 4 + i / 2 % 2 * 8;
      const int output = t.first_output + i / 4 * 8 + lane % 4 * 2;
      if (token < args.tokens && output < args.rows)
        store_pair(args, token, output, make_float2(total[m][i], total[m][i + 1]));
    }
}

__global__ void __launch_bounds__(threads, 1)
    prefill_linear_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap weights,
                          const linear_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i)
      ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], 2 * consumer_warps);
    ptx::fence_barrier_init();
  }
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  __syncthreads();
  ptx::cluster_sync(); // the neighbour's barriers are ready
  tile_walk walk(args);
  const int blocks = args.cols / block_k;
  // Each role meets the neighbour once more before it leaves, since that still arrives at this CTA's barriers. Code
  // after the branches could use registers that the producer gave away.
  if (threadIdx.x >= consumer_warps * 32) {
    ptx::give_registers<40>();
    if (threadIdx.x == consumer_warps * 32) produce(s, &x, &weights, blocks, walk);
    __syncwarp();
    ptx::cluster_sync();
    return;
  }
  ptx::take_registers<232>();
  const int group = __shfl_sync(~0u, threadIdx.x / 128, 0); // known to be the same for a warp
  int slot = 0;
  std::uint32_t parity = 0;
  for (tile t; walk.advance(t);) {
    accumulator total = {};
    if (t.half_full)
      multiply<1>(s, group, blocks, slot, parity, total);
    else
      multiply<2>(s, group, blocks, slot, parity, total);
    store(args, t, total);
  }
  ptx::cluster_sync();
}

// A thread takes 16 codes of a row.
__global__ void widen_kernel(const std::uint8_t* weights, const float* scales, int rows, int cols,
                             std::uint16_t* wide) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const std::size_t i = (std::size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 16;
  if (i >= std::size_t(rows) * cols) return;
  const int row = static_cast<int>(i / cols), col = static_cast<int>(i % cols);
  const float scale = scales[std::size_t(row / 128) * (cols / 128) + col / 128];
  const uint4 codes = *reinterpret_cast<const uint4*>(weights + i);
  const auto* pairs = reinterpret_cast<const __nv_fp8x2_storage_t*>(&codes);
  uint4 out[2];
  auto* bits = reinterpret_cast<__nv_bfloat162*>(out);
#pragma unroll
  for (int p = 0; p < 8; ++p) {
    const float2 v = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pairs[p], __NV_E4M3)));
    bits[p] = __floats2bfloat162_rn(v.x * scale, v.y * scale);
  }
  reinterpret_cast<uint4*>(wide + i)[0] = out[0], reinterpret_cast<uint4*>(wide + i)[1] = out[1];
}

} // namespace

cudaError_t widen_weights(const std::uint8_t* weights, const float* scales, int rows, int cols, std::uint16_t* wide,
                          cudaStream_t stream) {
  if (cols % 128) return cudaErrorInvalidValue;
  if (rows == 0 || cols == 0) return cudaSuccess;
  constexpr int block = 256;
  const auto blocks = (std::size_t(rows) * cols / 16 + block - 1) / block;
  return launch_dependent(widen_kernel, {dim3(static_cast<unsigned>(blocks)), block}, stream, weights, scales, rows,
                          cols, wide);
}

cudaError_t prefill_linear(const linear_args& args, cudaStream_t stream) {
  if (args.scales || args.groups != 1 || args.group_tokens || args.cols <= 0 || args.cols % block_k ||
      args.x_pitch % 8 || args.y_pitch % 2)
    return cudaErrorInvalidValue;
  if (args.rows == 0 || args.tokens == 0) return cudaSuccess;
  CUtensorMap x, weights;
  if (const auto e = make_bf16_map(&x, args.x, args.tokens, args.cols, half_tile, args.x_pitch)) return e;
  if (const auto e = make_bf16_map(&weights, args.weights, args.rows, args.cols, tile_outputs)) return e;
  constexpr int shared_bytes = sizeof(shared_layout);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  return launch_dependent(prefill_linear_kernel, {dim3(sms / 2 * 2), threads, shared_bytes, 2}, stream, x, weights,
                          args);
}

} // namespace troupe::cuda
