// Math      y[r,n] = sum_b sx[b,r] sw[e,n/128,b] (sum_{k in block b} x[r,k] W[e,n,k]), e the expert of r; fp32 sums of
//           128-wide tensor core products (two-level accumulation)
// Shapes    x [rows, K] e4m3 sorted by expert, W [experts, N, K] e4m3, y [rows, N] bf16
// Roofline  2 rows N K flop: 8 x 1024 rows, N = 4096, K = 7168: 481 GFLOP, 0.37 GB: compute bound, 330 us at 1460
//           TFLOP/s; K = 2048, N = 7168: 240 GFLOP. A K block of 1024 cycles moves 144 KB through shared memory, which
//           gives 128 bytes a cycle: 0.89 of the tensor core's peak at best
// Mapping   tiles of 256 rows x 128 outputs; two CTAs of a cluster take neighbouring outputs and multicast their common
//           rows (L2 gives 32 KB a K block instead of 48); a producer warp keeps four K blocks in flight; each of two
//           warpgroups owns 128 rows as two products of 64. They take turns at issuing, so that one scales a product
//           while the other multiplies. Tiles of at most 128 rows take one product of each warpgroup, half the time,
//           and come last
// Invariant a row's bits depend on that row and W only: every accumulator row is its own chain, K blocks ascend
// Measured  H200, L2-cold, 0.7-1.3 x 1024 rows an expert (0.93 of the multiplied rows are real):
//           gate_up 365 us, 1209 TFLOP/s, down 209 us, 1071 TFLOP/s; in the same run without turns 398 and 222-225 us,
//           with turns but waiting for a K block between two products 375 and 213 us. Profiled with those (1.52 GHz):
//           tensor core 0.78 busy while a multiprocessor is, against the 0.89 that shared memory allows
// Rejected  no multicast: 7-10 % slower; output tiles before row tiles, evict-first weights: 5-10 % slower; warpgroups
//           that issue only after the other's products ended: 850 TFLOP/s
// Source    model-spec.md section 9; two-level accumulation as in DeepSeek-V3 (arXiv 2412.19437, section 3.3.2)
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/store_rows.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma_n128.cuh"
#include "kernels/cuda/prefill_gemm.hpp"

#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int block_k = 128;
constexpr int tile_rows = 256;
constexpr int tile_outputs = 128;
constexpr int consumer_warps = 8;
constexpr int threads = consumer_warps * 32 + 128;
constexpr int stages = 4;
constexpr int experts_max = 256;

struct alignas(1024) ring_slot {
  std::uint8_t rows[tile_rows][block_k]; // swizzled by the copy engine; each CTA of the pair brings half
  std::uint8_t outputs[tile_outputs][block_k];
  float scales[tile_rows];
};

struct shared_layout {
  ring_slot ring[stages];
  warp_tile out[consumer_warps];
  std::uint64_t full[stages], empty[stages];
  int segments[experts_max + 1];
};

struct tile {
  int expert, first_row, first_output; // rows from a multiple of 4 on: the copy engine reads scales 16 bytes at a time
  int begin, end;                      // rows of the expert
  __device__ bool half_full() const { return end - first_row <= tile_rows / 2; }
};

// Walks the tiles of one cluster: row tiles of the same outputs are neighbours in time, so weights are read once. Tiles
// of 128 rows or less, which take half the time, come last and fill the gaps.
struct tile_walk {
  const int* segments;
  int experts, pairs, next, i = 0, before = 0; // i: expert, then experts + expert
  __device__ tile_walk(const int* s, int e, int outputs)
      : segments(s), experts(e), pairs((outputs + 2 * tile_outputs - 1) / (2 * tile_outputs)), next(blockIdx.x / 2) {}
  __device__ bool advance(tile& t) {
    for (; i < 2 * experts; ++i) {
      const int expert = i < experts ? i : i - experts, begin = segments[expert], end = segments[expert + 1];
      const int aligned = begin & ~3, rows = begin < end ? end - aligned : 0,
                full = (rows + tile_rows / 2 - 1) / tile_rows;
      const int first = i < experts ? 0 : full, high = i < experts ? full : rows > full * tile_rows;
      const int local = next - before;
      if (local < high * pairs) {
        t = {expert, aligned + (first + local % high) * tile_rows,
             (local / high * 2 + static_cast<int>(blockIdx.x % 2)) * tile_outputs, begin, end};
        next += gridDim.x / 2;
        return true;
      }
      before += high * pairs;
    }
    return false;
  }
};

__device__ void produce(shared_layout& s, const CUtensorMap* x, const CUtensorMap* scales, const CUtensorMap* weights,
                        const prefill_gemm_args& args, tile_walk walk) {
  constexpr int half = tile_rows / 2;
  const int rank = blockIdx.x % 2, blocks = args.cols / block_k;
  int slot = 0;
  std::uint32_t parity = 1;
  for (tile t; walk.advance(t);) {
    const int weight_row = t.expert * args.outputs + t.first_output;
    for (int b = 0; b < blocks; ++b) {
      auto& to = s.ring[slot];
      auto* full = &s.full[slot];
      ptx::mbarrier_wait(&s.empty[slot], parity); // both CTAs have read it
      ptx::mbarrier_expect_bytes(full, sizeof(ring_slot) - (t.half_full() ? half * block_k : 0));
      if (rank == 0 || !t.half_full())
        ptx::copy_tile_multicast(to.rows[rank * half], x, full, b * block_k, t.first_row + rank * half, 3,
                                 ptx::evict_last);
      ptx::copy_tile(to.outputs, weights, full, b * block_k, weight_row, ptx::evict_last);
      ptx::copy_tile(to.scales, scales, full, t.first_row, b, ptx::evict_last);
      if (++slot == stages) slot = 0, parity ^= 1;
    }
  }
}

// The two warpgroups issue their products in turns.
__device__ void my_turn(int group) { ptx::named_barrier(1 + group, consumer_warps * 32); }
__device__ void your_turn(int group) {
  asm volatile("bar.arrive %0, %1;" ::"r"(2 - group), "n"(consumer_warps * 32) : "memory");
}

using accumulator = float[2][64]; // two products of 64 rows x 128 outputs

// Product m of warpgroup g is rows 64 (2 m + g) .. + 63: a tile of 128 rows or less is one product of each.
template <int Products>
__device__ void multiply(shared_layout& s, int group, const float* weight_scales, int blocks, int& slot,
                         std::uint32_t& parity, accumulator& total) {
  const int lane = threadIdx.x % 32, row = group * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
  float scale = __ldg(weight_scales);
  slot = __shfl_sync(~0u, slot, 0); // known to be the same for a warp: descriptors stay in uniform registers
  ptx::mbarrier_wait(&s.full[slot], parity);
  for (int k = 0; k < blocks; ++k) {
    const auto& from = s.ring[slot];
    const float scale_next = k + 1 < blocks ? __ldg(weight_scales + k + 1) : 0.0f;
    const int here = slot;
    if (++slot == stages) slot = 0, parity ^= 1;
    const auto a = ptx::k_major_descriptor(from.rows[group * 64]), b = ptx::k_major_descriptor(from.outputs);
#pragma unroll
    for (int m = 0; m < Products; ++m) {
      float part[64];
      my_turn(group);
      ptx::wgmma_fence();
#pragma unroll
      for (int step = 0; step < block_k / 32; ++step) // 32 bytes further = 2 in descriptor units; 128 rows = 1024
        ptx::wgmma_e4m3_n128(part, a + m * 1024 + step * 2, b + step * 2, step != 0);
      ptx::wgmma_commit();
      your_turn(group);
      const float factor[2] = {scale * from.scales[row + m * 128], scale * from.scales[row + m * 128 + 8]};
      if (m == Products - 1 && k + 1 < blocks) ptx::mbarrier_wait(&s.full[slot], parity); // behind the product
      ptx::wgmma_wait<0>();
      if (m == Products - 1 && lane < 2) ptx::mbarrier_arrive_at(&s.empty[here], lane);
      ptx::pin(part);
#pragma unroll
      for (int i = 0; i < 64; ++i) total[m][i] = fmaf(factor[i / 2 % 2], part[i], total[m][i]);
    }
    scale = scale_next;
  }
}

__device__ void store(shared_layout& s, const prefill_gemm_args& args, const tile& t, accumulator& total) {
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int first_row = t.first_row + m * 128 + warp * 16, first_output = t.first_output + half * 64;
      store_warp_rows(
          s.out[warp], [&](int i) { return total[m][half * 32 + i]; },
          [&](int row, int chunk, uint4 data) {
            const int r = first_row + row, n = first_output + chunk * 8;
            if (r >= t.begin && r < t.end && n < args.outputs)
              *reinterpret_cast<uint4*>(args.y + std::size_t(r) * args.outputs + n) = data;
          });
    }
}

__global__ void __launch_bounds__(threads, 1)
    prefill_gemm_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap scales,
                        const __grid_constant__ CUtensorMap weights, const prefill_gemm_args args) {
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
  for (int e = threadIdx.x; e <= args.experts; e += threads) s.segments[e] = args.segments[e];
  __syncthreads();
  ptx::cluster_sync(); // the neighbour's barriers are ready
  tile_walk walk(s.segments, args.experts, args.outputs);
  // Each role meets the neighbour once more before it leaves, since that still arrives at this CTA's barriers. Code
  // after the branches could use registers that the producer gave away.
  if (threadIdx.x >= consumer_warps * 32) {
    ptx::give_registers<40>();
    if (threadIdx.x == consumer_warps * 32) produce(s, &x, &scales, &weights, args, walk);
    __syncwarp();
    ptx::cluster_sync();
    return;
  }
  ptx::take_registers<232>();
  const int blocks = args.cols / block_k, scale_rows = (args.outputs + 127) / 128;
  const int group = __shfl_sync(~0u, threadIdx.x / 128, 0); // known to be the same for a warp
  if (group == 1) your_turn(1);                             // the first warpgroup begins
  int slot = 0;
  std::uint32_t parity = 0;
  for (tile t; walk.advance(t);) {
    accumulator total = {};
    const int scale_row = t.expert * scale_rows + min(t.first_output / 128, scale_rows - 1);
    const float* scales_of = args.weight_scales + std::size_t(scale_row) * blocks;
    if (t.half_full())
      multiply<1>(s, group, scales_of, blocks, slot, parity, total);
    else
      multiply<2>(s, group, scales_of, blocks, slot, parity, total);
    store(s, args, t, total);
  }
  if (group == 0) my_turn(0); // takes up the other's last arrival
  ptx::cluster_sync();
}

// One warp per row and 128 channels, four a lane.
__global__ void swiglu_quantise_kernel(const std::uint16_t* h, int rows, int width, int scale_pitch,
                                       std::uint8_t* middle, float* scales) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const int lane = threadIdx.x % 32, row = blockIdx.x;
  const auto* from = h + std::size_t(row) * 2 * width;
  for (int group = threadIdx.x / 32; group < width / 128; group += blockDim.x / 32) {
    const uint2 g = reinterpret_cast<const uint2*>(from + group * 128)[lane];
    const uint2 u = reinterpret_cast<const uint2*>(from + width + group * 128)[lane];
    float v[4], peak = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto gate = reinterpret_cast<const __nv_bfloat16*>(&g)[i],
                 up = reinterpret_cast<const __nv_bfloat16*>(&u)[i];
      const float x = __bfloat162float(gate);
      v[i] = x / (1.0f + __expf(-x)) * __bfloat162float(up);
      peak = fmaxf(peak, fabsf(v[i]));
    }
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
    const float scale = fmaxf(peak, 1e-4f) / 448.0f;
    const __nv_fp8x4_e4m3 q(make_float4(v[0] / scale, v[1] / scale, v[2] / scale, v[3] / scale));
    *reinterpret_cast<__nv_fp8x4_e4m3*>(middle + std::size_t(row) * width + group * 128 + 4 * lane) = q;
    if (lane == 0) scales[std::size_t(group) * scale_pitch + row] = scale;
  }
}

} // namespace

cudaError_t prefill_gemm(const prefill_gemm_args& args, cudaStream_t stream) {
  if (args.cols <= 0 || args.cols % block_k || args.outputs <= 0 || args.outputs % 8 || args.scale_pitch % 4 ||
      args.scale_pitch < args.rows || args.experts < 0 || args.experts > experts_max)
    return cudaErrorInvalidValue;
  if (args.rows == 0 || args.experts == 0) return cudaSuccess;
  CUtensorMap x, scales, weights;
  const std::uint64_t cols = args.cols;
  if (const auto e = make_byte_map(&x, args.x, args.rows, cols, tile_rows / 2)) return e;
  if (const auto e = make_line_map(&scales, args.x_scales, cols / block_k, args.rows, args.scale_pitch, tile_rows))
    return e;
  if (const auto e =
          make_byte_map(&weights, args.weights, std::uint64_t(args.experts) * args.outputs, cols, tile_outputs))
    return e;
  constexpr int shared_bytes = sizeof(shared_layout);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  return launch_dependent(prefill_gemm_kernel, {dim3(sms / 2 * 2), threads, shared_bytes, 2}, stream, x, scales,
                          weights, args);
}

cudaError_t swiglu_quantise(const std::uint16_t* h, int rows, int width, int scale_pitch, std::uint8_t* middle,
                            float* scales, cudaStream_t stream) {
  if (width % 128) return cudaErrorInvalidValue;
  if (rows == 0 || width == 0) return cudaSuccess;
  return launch_dependent(swiglu_quantise_kernel, {dim3(rows), 256}, stream, h, rows, width, scale_pitch, middle,
                          scales);
}

} // namespace troupe::cuda
