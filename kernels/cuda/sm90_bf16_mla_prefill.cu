// Math      S[r,p] = scale q[r] . [k[p] | rope[p]],  P = softmax over p <= past + r,  o[r] = sum_p P[r,p] v[p];
//           per head, fp32 softmax and sums, P in bf16
// Shapes    q [rows, heads, 192], kv [positions, heads, 128 k + 128 v], rope [positions, 64], o [rows, heads, 128];
//           all bf16
// Roofline  2 (192 + 128) flop a pair: 8192 causal rows, 128 heads: 2.75 TFLOP, 3.5 ms at 790 TFLOP/s; 1.2 GB once.
//           16 exponentials a cycle: 0.4 of the products' time, so they must hide behind them
// Mapping   one CTA per head and 128 rows: two warpgroups of 64 rows, a producer warp with two stages of 128 positions
//           each for keys and values. A warpgroup computes the scores of block j while it multiplies the P of the block
//           before by its values; the two warpgroups take turns at issuing products, so that one's softmax runs behind
//           the other's. Blocks go from the diagonal back: only the first ones are masked. Long rows of 4 heads first,
//           so that keys and values stay in L2
// Invariant a row's bits depend on that row, its sequence's keys and its place in the 128-row tile's block order only
// Measured  H200, 8192 causal rows, 128 heads: 4.28 ms, 642 TFLOP/s (0.81 of cuBLASLt's bf16 8192^3); 624-701 in four
//           runs, as warm as the card was
// Source    model-spec.md 6.2; schedule: FlashAttention-3 (arXiv 2407.08608)
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/store_rows.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma_n128.cuh"
#include "kernels/cuda/mla_prefill.hpp"

#include <cmath>

namespace troupe::cuda {
namespace {

constexpr int tile_rows = 128;
constexpr int block = 128; // positions
constexpr int q_boxes = 3, v_boxes = 2;
constexpr int box_bytes = 128 * 128; // 128 rows of 64 columns
constexpr int stages = 2;
constexpr int consumer_threads = 256;
constexpr int threads = consumer_threads + 128;
constexpr int heads_together = 4;

struct alignas(1024) shared_layout {
  std::uint8_t q[q_boxes][box_bytes];
  std::uint8_t k[stages][q_boxes][box_bytes];
  std::uint8_t v[stages][v_boxes][box_bytes];
  std::uint64_t q_full, k_full[stages], k_empty[stages], v_full[stages], v_empty[stages];
};

struct ring_place {
  int slot = 0;
  std::uint32_t parity = 0;
  __device__ void advance() {
    if (++slot == stages) slot = 0, parity ^= 1;
  }
};

__device__ void produce(shared_layout& s, const CUtensorMap* q, const CUtensorMap* kv, const CUtensorMap* rope,
                        int head, int first_row, int blocks) {
  ptx::mbarrier_expect_bytes(&s.q_full, sizeof(s.q));
  for (int b = 0; b < q_boxes; ++b)
    ptx::copy_tile(s.q[b], q, &s.q_full, head * 192 + b * 64, first_row, ptx::evict_first);
  ring_place at{0, 1};
  for (int j = blocks - 1; j >= 0; --j, at.advance()) {
    auto *k_full = &s.k_full[at.slot], *v_full = &s.v_full[at.slot];
    ptx::mbarrier_wait(&s.k_empty[at.slot], at.parity);
    ptx::mbarrier_expect_bytes(k_full, sizeof(s.k[0]));
    for (int b = 0; b < 2; ++b)
      ptx::copy_tile(s.k[at.slot][b], kv, k_full, head * 256 + b * 64, j * block, ptx::evict_last);
    ptx::copy_tile(s.k[at.slot][2], rope, k_full, 0, j * block, ptx::evict_last);
    ptx::mbarrier_wait(&s.v_empty[at.slot], at.parity);
    ptx::mbarrier_expect_bytes(v_full, sizeof(s.v[0]));
    for (int b = 0; b < v_boxes; ++b)
      ptx::copy_tile(s.v[at.slot][b], kv, v_full, head * 256 + 128 + b * 64, j * block, ptx::evict_last);
  }
}

using tile64 = float[64]; // 64 rows x 128 columns of a warpgroup

__device__ int row_of(int i) { return threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8; }
__device__ int col_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }

// The two warpgroups issue their products in turns.
__device__ void my_turn(int warpgroup) { ptx::named_barrier(1 + warpgroup, consumer_threads); }
__device__ void your_turn(int warpgroup) {
  asm volatile("bar.arrive %0, %1;" ::"r"(2 - warpgroup), "n"(consumer_threads) : "memory");
}

__device__ void issue_scores(const shared_layout& s, int warpgroup, int slot, tile64& d) {
#pragma unroll
  for (int b = 0; b < q_boxes; ++b) {
    const auto q = ptx::k_major_descriptor(s.q[b]) + warpgroup * (64 * 128 / 16),
               k = ptx::k_major_descriptor(s.k[slot][b]);
#pragma unroll
    for (int step = 0; step < 4; ++step) ptx::wgmma_bf16_n128(d, q + step * 2, k + step * 2, b + step != 0);
  }
  ptx::wgmma_commit();
}

using probabilities = std::uint32_t[8][4]; // bf16 pairs, as wgmma wants A

__device__ void issue_values(const shared_layout& s, int slot, const probabilities& p, tile64& o) {
  const auto v = ptx::n_major_descriptor(s.v[slot][0], box_bytes);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 8; ++step) ptx::wgmma_bf16_n128(o, p[step], v + step * 128); // 16 positions a step
  ptx::wgmma_commit();
}

struct rows_state {
  tile64 o = {};
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  int visible[2]; // positions of the thread's two rows
  float scale_log2;
};

// A finite stand-in for the maximum of rows that have seen nothing yet: exp2(-inf - it) is 0, never NaN.
__device__ float finite(float peak) { return peak == -INFINITY ? 0.0f : peak; }

// Scores become exponentials; `factor` is what earlier sums and outputs must be multiplied by.
template <bool Masked>
__device__ void softmax(rows_state& st, tile64& d, int first_position, float (&factor)[2]) {
  float before[2], shift[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    before[r] = st.peak[r];
#pragma unroll
    for (int i = 2 * r; i < 64; i += 4)
#pragma unroll
      for (int j = i; j < i + 2; ++j) {
        if (Masked && first_position + col_of(j) >= st.visible[r]) d[j] = -INFINITY;
        st.peak[r] = fmaxf(st.peak[r], d[j]);
      }
    for (int lanes = 1; lanes <= 2; lanes *= 2) st.peak[r] = fmaxf(st.peak[r], __shfl_xor_sync(~0u, st.peak[r], lanes));
    const float peak = finite(st.peak[r]);
    factor[r] = ptx::exp2_approx((before[r] - peak) * st.scale_log2);
    shift[r] = peak * st.scale_log2;
    st.sum[r] *= factor[r];
  }
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    d[i] = ptx::exp2_approx(fmaf(d[i], st.scale_log2, -shift[i / 2 % 2]));
    st.sum[i / 2 % 2] += d[i];
  }
}

__device__ void pack(const tile64& d, probabilities& p) {
#pragma unroll
  for (int i = 0; i < 64; i += 2) p[i / 8][i / 2 % 4] = pack_bf16(d[i], d[i + 1]);
}

__device__ void release(std::uint64_t* empty) {
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(empty);
}

// Scores of the next block while this one's P meets its values.
template <bool Masked, int Warpgroup>
__device__ void step(shared_layout& s, rows_state& st, probabilities& p, ring_place& at, int first_position) {
  at.slot = __shfl_sync(~0u, at.slot, 0); // known to be the same for a warp: descriptors stay in uniform registers
  const ring_place before = at;
  at.advance();
  tile64 d;
  float factor[2];
  ptx::mbarrier_wait(&s.k_full[at.slot], at.parity);
  my_turn(Warpgroup);
  ptx::wgmma_fence();
  issue_scores(s, Warpgroup, at.slot, d);
  ptx::mbarrier_wait(&s.v_full[before.slot], before.parity);
  issue_values(s, before.slot, p, st.o);
  your_turn(Warpgroup);
  ptx::wgmma_wait<1>();
  ptx::pin(d);
  release(&s.k_empty[at.slot]);
  softmax<Masked>(st, d, first_position, factor);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  release(&s.v_empty[before.slot]);
  pack(d, p);
#pragma unroll
  for (int i = 0; i < 64; ++i) st.o[i] *= factor[i / 2 % 2];
}

template <int Warpgroup>
__device__ void consume(shared_layout& s, const mla_prefill_args& args, int head, int first_row, int blocks) {
  const int past = args.positions - args.rows, own_row = first_row + Warpgroup * 64;
  rows_state st;
  st.scale_log2 = args.scale * 1.44269504f;
#pragma unroll
  for (int r = 0; r < 2; ++r) st.visible[r] = past + min(own_row + row_of(2 * r), args.rows - 1) + 1;
  const int seen_by_all = past + min(own_row, args.rows - 1) + 1; // positions that need no mask

  ptx::mbarrier_wait(&s.q_full, 0);
  ring_place at;
  probabilities p;
  {
    tile64 d;
    float factor[2];
    ptx::mbarrier_wait(&s.k_full[at.slot], at.parity);
    if (Warpgroup == 1) your_turn(Warpgroup); // the first warpgroup begins
    my_turn(Warpgroup);
    ptx::wgmma_fence();
    issue_scores(s, Warpgroup, at.slot, d);
    your_turn(Warpgroup);
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    release(&s.k_empty[at.slot]);
    softmax<true>(st, d, (blocks - 1) * block, factor);
    pack(d, p);
  }
  int j = blocks - 2;
  for (; j >= 0 && (j + 1) * block > seen_by_all; --j) step<true, Warpgroup>(s, st, p, at, j * block);
  for (; j >= 0; --j) step<false, Warpgroup>(s, st, p, at, j * block);
  if (Warpgroup == 0) my_turn(Warpgroup); // takes up the other's last arrival
  ptx::mbarrier_wait(&s.v_full[at.slot], at.parity);
  issue_values(s, at.slot, p, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);

  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int lanes = 1; lanes <= 2; lanes *= 2) st.sum[r] += __shfl_xor_sync(~0u, st.sum[r], lanes);
    inverse[r] = 1.0f / st.sum[r];
  }
  const int warp = threadIdx.x / 32;
  auto& out = reinterpret_cast<warp_tile*>(s.q[0] + Warpgroup * 64 * 128)[warp % 4]; // rows of q only this warp reads
#pragma unroll
  for (int half = 0; half < 2; ++half)
    store_warp_rows(
        out, [&](int i) { return st.o[half * 32 + i] * inverse[i / 2 % 2]; },
        [&](int row, int chunk, uint4 data) {
          const int r = own_row + warp % 4 * 16 + row;
          if (r < args.rows)
            *reinterpret_cast<uint4*>(args.out + (std::size_t(r) * args.heads + head) * 128 + half * 64 + chunk * 8) =
                data;
        });
}

__global__ void __launch_bounds__(threads, 1)
    mla_prefill_kernel(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap kv,
                       const __grid_constant__ CUtensorMap rope, const mla_prefill_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&s.q_full, 1);
    for (int i = 0; i < stages; ++i) {
      ptx::mbarrier_init(&s.k_full[i], 1), ptx::mbarrier_init(&s.v_full[i], 1);
      ptx::mbarrier_init(&s.k_empty[i], consumer_threads / 32),
          ptx::mbarrier_init(&s.v_empty[i], consumer_threads / 32);
    }
    ptx::fence_barrier_init();
  }
  __syncthreads();
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const int tiles = (args.rows + tile_rows - 1) / tile_rows, group = blockIdx.x / (tiles * heads_together),
            heads_here = min(heads_together, args.heads - group * heads_together),
            local = blockIdx.x - group * tiles * heads_together, head = group * heads_together + local % heads_here,
            first_row = (tiles - 1 - local / heads_here) * tile_rows;
  const int positions = args.positions - args.rows + min(first_row + tile_rows, args.rows);
  const int blocks = (positions + block - 1) / block;
  if (threadIdx.x >= consumer_threads) {
    ptx::give_registers<40>();
    if (threadIdx.x == consumer_threads) produce(s, &q, &kv, &rope, head, first_row, blocks);
    return;
  }
  ptx::take_registers<232>();
  if (threadIdx.x < 128)
    consume<0>(s, args, head, first_row, blocks);
  else
    consume<1>(s, args, head, first_row, blocks);
}

} // namespace

cudaError_t mla_prefill(const mla_prefill_args& args, cudaStream_t stream) {
  if (args.rows < 0 || args.positions < args.rows || args.heads < 1 || args.rope_pitch % 8)
    return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  CUtensorMap q, kv, rope;
  const std::uint64_t heads = args.heads;
  if (const auto e = make_bf16_map(&q, args.q, args.rows, heads * 192, tile_rows)) return e;
  if (const auto e = make_bf16_map(&kv, args.kv, args.positions, heads * 256, block)) return e;
  if (const auto e = make_bf16_map(&rope, args.rope, args.positions, 64, block, args.rope_pitch)) return e;
  constexpr int shared_bytes = sizeof(shared_layout);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  const dim3 grid((args.rows + tile_rows - 1) / tile_rows * args.heads);
  return launch_dependent(mla_prefill_kernel, {grid, threads, shared_bytes}, stream, q, kv, rope, args);
}

} // namespace troupe::cuda
