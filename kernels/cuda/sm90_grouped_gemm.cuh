// What the grouped products of both formats share: which tiles there are, the ring that the copy engine fills, and how
// accumulators leave. sm90_fp8_grouped_gemm.cu says how it fits.
//
// A Format has
//   element_bytes     of weights and rows
//   tokens_max        of a tile, 96 or 128
//   slot<Tokens>      a ring_slot, and what else a block of K needs; `bytes` of it are copied
//   releases          arrivals that free a slot
//   load_scales()     copies what else a slot has
//   multiply()        adds all of K to the accumulators of one warpgroup
//   store_middle()    a warp stores 128 channels of one row, four a lane
#pragma once

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/sm90_grouped_gemm.hpp"

#include <cuda_bf16.h>

namespace troupe::cuda::grouped {

constexpr int block_bytes = 128;    // of a row, of one stage
constexpr int warpgroup_rows = 128; // weight rows of one consumer warpgroup
constexpr int consumer_threads = 256;
constexpr int threads = consumer_threads + 128;

template <class Format>
constexpr int block_k = block_bytes / Format::element_bytes; // channels

/// Slots [slot, slot + rows) are the expert's.
struct expert_rows {
  int expert, rows, slot;
};

template <int Tokens>
struct alignas(1024) ring_slot {
  static constexpr std::uint32_t bytes = (2 * warpgroup_rows + Tokens) * block_bytes;
  std::uint8_t weights[2][warpgroup_rows][block_bytes]; // swizzled by the copy engine
  std::uint8_t tokens[Tokens][block_bytes];
};

template <class Format, int Tokens>
struct shared_layout {
  static constexpr int stages = Tokens <= 64 ? 5 : 4;
  static constexpr int leaving = Tokens <= 32 ? Tokens : 32; // tokens whose accumulators leave at a time
  typename Format::template slot<Tokens> ring[stages];
  union {
    float exchange[leaving][warpgroup_rows + 4];         // gate_up: up half, then h, on its way out
    __nv_bfloat16 rows[leaving][2 * warpgroup_rows + 8]; // down: transposed on its way out
  };
  std::uint64_t full[stages], empty[stages];
  expert_rows active[ffn_experts_max]; // experts with rows
  int active_of_warp[threads / 32];
};

struct tile {
  int expert, strip;         // 256 weight rows (down), or 128 gate and 128 up rows (gate_up)
  int first_row, rows, slot; // of the expert; rows from there on, perhaps more than the tile has; slot of the first
};

// Lists the experts that have rows: walking over all 256 would cost a decode step of one token more than its products.
template <class Shared>
__device__ int list_active(Shared& s, const grouped_gemm_args& args) {
  static_assert(ffn_experts_max <= threads, "one thread an expert");
  const int e = threadIdx.x, warp = e / 32;
  int rows = 0, slot = 0;
  if (e < args.experts) {
    slot = args.segments ? args.segments[e] : e * args.rows_max;
    rows = args.segments ? args.segments[e + 1] - slot : args.rows[e];
  }
  const unsigned votes = __ballot_sync(~0u, rows > 0);
  if (e % 32 == 0) s.active_of_warp[warp] = __popc(votes);
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < threads / 32; ++w) {
    if (w == warp) before = all;
    all += s.active_of_warp[w];
  }
  if (rows > 0) s.active[before + __popc(votes & ((1u << (e % 32)) - 1))] = {e, rows, slot};
  __syncthreads();
  return all;
}

// Walks the tiles of one CTA. Token tiles of a strip are neighbours, so that its weights come from memory once.
template <int Tokens>
struct tile_walk {
  const expert_rows* active;
  int count, strips, next, at = 0, before = 0;
  __device__ tile_walk(const expert_rows* a, int c, int s) : active(a), count(c), strips(s), next(blockIdx.x) {}
  __device__ bool advance(tile& t) {
    for (; at < count; ++at) {
      const auto& of = active[at];
      const int high = (of.rows + Tokens - 1) / Tokens, here = strips * high;
      if (next < before + here) {
        const int local = next - before, first_row = local % high * Tokens;
        t = {of.expert, local / high, first_row, of.rows - first_row, of.slot + first_row};
        next += gridDim.x;
        return true;
      }
      before += here;
    }
    return false;
  }
};

template <stage_of Stage>
__device__ int weight_row(const tile& t, int half, int weight_rows) {
  const int base = t.expert * weight_rows;
  if constexpr (Stage == stage_of::gate_up) return base + half * (weight_rows / 2) + t.strip * warpgroup_rows;
  return base + (2 * t.strip + half) * warpgroup_rows;
}

template <class Format, stage_of Stage, int Tokens>
struct producer {
  shared_layout<Format, Tokens>& s;
  const CUtensorMap *weights, *tokens;
  const grouped_gemm_args& args;

  __device__ void load_weights(int slot, const tile& t, int k) {
    ptx::mbarrier_expect_bytes(&s.full[slot], Format::template slot<Tokens>::bytes);
    for (int half = 0; half < 2; ++half)
      ptx::copy_tile(s.ring[slot].weights[half], weights, &s.full[slot], k * block_k<Format>,
                     weight_row<Stage>(t, half, args.weight_rows), ptx::evict_first);
  }
  __device__ void load_tokens(int slot, const tile& t, int k) {
    ptx::copy_tile(s.ring[slot].tokens, tokens, &s.full[slot], k * block_k<Format>, t.slot, ptx::evict_last);
    Format::load_scales(s.ring[slot], args, t, k, &s.full[slot]);
  }
  /// Weights that fill the ring do not wait for the kernel before this one.
  __device__ void run(tile_walk<Tokens> walk) {
    const int k_blocks = args.cols / block_k<Format>;
    tile t;
    bool more = walk.advance(t);
    int k = more ? min(s.stages, k_blocks) : 0;
    for (int i = 0; i < k; ++i) load_weights(i, t, i);
    ptx::grid_dependency_wait();
    ptx::grid_launch_dependents();
    for (int i = 0; i < k; ++i) load_tokens(i, t, i);
    int slot = k == s.stages ? 0 : k;
    std::uint32_t parity = k == s.stages ? 0 : 1;
    for (; more; more = walk.advance(t), k = 0)
      for (; k < k_blocks; ++k) {
        ptx::mbarrier_wait(&s.empty[slot], parity);
        load_weights(slot, t, k);
        load_tokens(slot, t, k);
        if (++slot == s.stages) slot = 0, parity ^= 1;
      }
  }
};

// Accumulator element i of a thread: weight row warp * 16 + lane / 4 + 8 * ((i / 2) % 2), token 8 * (i / 4) + lane % 4
// * 2 + i % 2.
template <int Tokens>
using accumulator = float[2][Tokens / 2]; // two 64-row halves of the warpgroup's 128 rows

/// The elements of tokens [First, First + Count), which is whole groups of 8; their tokens count from First.
template <int First, int Count, class Visit>
__device__ void for_each_element(Visit visit) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < Count / 2; ++i)
      visit(m, First / 2 + i, m * 64 + warp * 16 + lane / 4 + i / 2 % 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2);
}

// Up warpgroup hands u over; gate warpgroup forms h; then all eight warps store a token at a time.
template <int First, class Format, int Tokens>
__device__ void store_gate_up(shared_layout<Format, Tokens>& s, const grouped_gemm_args& args, const tile& t, int half,
                              accumulator<Tokens>& total) {
  constexpr int count = shared_layout<Format, Tokens>::leaving;
  if (half == 1)
    for_each_element<First, count>([&](int m, int i, int row, int token) { s.exchange[token][row] = total[m][i]; });
  ptx::named_barrier(1, consumer_threads);
  if (half == 0)
    for_each_element<First, count>([&](int m, int i, int row, int token) {
      const float gate = total[m][i];
      s.exchange[token][row] = gate / (1.0f + __expf(-gate)) * s.exchange[token][row];
    });
  ptx::named_barrier(1, consumer_threads);
  const int lane = threadIdx.x % 32, rows_here = min(count, t.rows - First);
  for (int token = threadIdx.x / 32; token < rows_here; token += consumer_threads / 32)
    Format::store_middle(args, t, First + token, *reinterpret_cast<const float4*>(&s.exchange[token][4 * lane]));
  ptx::named_barrier(1, consumer_threads);
}

template <int First, class Format, int Tokens>
__device__ void store_down(shared_layout<Format, Tokens>& s, const grouped_gemm_args& args, const tile& t, int half,
                           accumulator<Tokens>& total) {
  constexpr int count = shared_layout<Format, Tokens>::leaving;
  const int lane = threadIdx.x % 32, rows_here = min(count, t.rows - First);
  for_each_element<First, count>([&](int m, int i, int row, int token) {
    s.rows[token][half * warpgroup_rows + row] = __float2bfloat16_rn(total[m][i]);
  });
  ptx::named_barrier(1, consumer_threads);
  for (int token = threadIdx.x / 32; token < rows_here; token += consumer_threads / 32) {
    auto* out = args.outputs + std::size_t(t.slot + First + token) * args.weight_rows + 2 * warpgroup_rows * t.strip;
    reinterpret_cast<uint4*>(out)[lane] = *reinterpret_cast<const uint4*>(&s.rows[token][8 * lane]);
  }
  ptx::named_barrier(1, consumer_threads);
}

/// Rows of the tile from First on. The condition also keeps ptxas from reading sums before the last product, for which
/// every product would wait (C7514).
template <stage_of Stage, int First, class Format, int Tokens>
__device__ void store(shared_layout<Format, Tokens>& s, const grouped_gemm_args& args, const tile& t, int half,
                      accumulator<Tokens>& total) {
  if (First >= t.rows) return;
  if constexpr (Stage == stage_of::gate_up)
    store_gate_up<First>(s, args, t, half, total);
  else
    store_down<First>(s, args, t, half, total);
  if constexpr (constexpr int next = First + shared_layout<Format, Tokens>::leaving; next < Tokens)
    store<Stage, next>(s, args, t, half, total);
}

template <class Format, stage_of Stage, int Tokens>
__global__ void __launch_bounds__(threads, 1)
    grouped_gemm_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap tokens,
                        const grouped_gemm_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout<Format, Tokens>*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (threadIdx.x == 0) {
    for (int i = 0; i < s.stages; ++i)
      ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], Format::releases);
    ptx::fence_barrier_init();
  }
  // What gate_up waits for says which rows there are; down knows, since gate_up waited for them before it let down
  // start.
  if constexpr (Stage == stage_of::gate_up) ptx::grid_dependency_wait();
  const int active = list_active(s, args);

  const int strips = args.weight_rows / (2 * warpgroup_rows);
  tile_walk<Tokens> walk(s.active, active, strips);
  if (threadIdx.x >= consumer_threads) {
    ptx::give_registers<40>();
    if (threadIdx.x == consumer_threads) producer<Format, Stage, Tokens>{s, &weights, &tokens, args}.run(walk);
    return;
  }
  ptx::take_registers<232>();
  const int half = __shfl_sync(~0u, threadIdx.x / 128, 0);
  int slot = 0;
  std::uint32_t parity = 0;
  for (tile t; walk.advance(t);) {
    accumulator<Tokens> total = {};
    Format::template multiply<Tokens>(s, args, weight_row<Stage>(t, half, args.weight_rows), half, slot, parity, total);
    store<Stage, 0>(s, args, t, half, total);
  }
}

template <class Format, stage_of Stage, int Tokens>
cudaError_t launch(const grouped_gemm_args& args, cudaStream_t stream) {
  CUtensorMap weights, tokens;
  const auto make = Format::element_bytes == 1 ? make_byte_map : make_bf16_map;
  const auto experts = static_cast<std::uint64_t>(args.experts);
  if (const auto e = make(&weights, args.weights, experts * args.weight_rows, args.cols, warpgroup_rows, 0)) return e;
  const auto slots = args.segments ? std::uint64_t(args.rows_max) : experts * args.rows_max;
  if (const auto e = make(&tokens, args.tokens, slots, args.cols, Tokens, 0)) return e;
  constexpr int shared_bytes = sizeof(shared_layout<Format, Tokens>);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  return launch_dependent(grouped_gemm_kernel<Format, Stage, Tokens>, {dim3(sms), threads, shared_bytes}, stream,
                          weights, tokens, args);
}

// The narrowest tile that holds an expert's rows: weights are then read once.
template <class Format, stage_of Stage>
cudaError_t launch_for(const grouped_gemm_args& args, int rows_hint, cudaStream_t stream) {
  if (rows_hint <= 8 || args.rows_max < 16) return launch<Format, Stage, 8>(args, stream);
  if (rows_hint <= 16 || args.rows_max < 32) return launch<Format, Stage, 16>(args, stream);
  if (rows_hint <= 32 || args.rows_max < 64) return launch<Format, Stage, 32>(args, stream);
  if (rows_hint <= 64 || args.rows_max < 96) return launch<Format, Stage, 64>(args, stream);
  if constexpr (Format::tokens_max == 128)
    if (rows_hint > 96 && args.rows_max >= 128) return launch<Format, Stage, 128>(args, stream);
  return launch<Format, Stage, 96>(args, stream);
}

template <class Format>
cudaError_t launch_stage(stage_of stage, const grouped_gemm_args& args, int rows_hint, cudaStream_t stream) {
  return stage == stage_of::gate_up ? launch_for<Format, stage_of::gate_up>(args, rows_hint, stream)
                                    : launch_for<Format, stage_of::down>(args, rows_hint, stream);
}

} // namespace troupe::cuda::grouped
