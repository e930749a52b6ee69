// Math      y[t,n] = sum_b scale[n/128,b] (sum_{k in block b} W[n,k] x[t,k]) (+ bias[n]), e4m3 W in blocks of 128;
//           y[t,n] = sum_k W[n,k] x[t,k] for bf16 W; fp32 sums
// Shapes    W [groups, rows, cols], x [groups, tokens, cols] bf16, y [groups, tokens, rows] bf16 or f32
// Roofline  W once: 7168 x 16384 e4m3 = 117 MB: 26 us at 4.5 TB/s. 64 tokens are 15 GFLOP: 19 us at 800 TFLOP/s, and x
//           passes through L2 once a strip: 16 KB beside 32 KB of weights
// Mapping   swap-AB: 64 weight rows an instruction, 8..64 tokens on the N side. A CTA is one strip of 256 weight rows
//           and a range of K; the CTAs of a strip form a cluster and add their
//           parts in order. e4m3 is widened into A's registers, 5 instructions a pair and half of the issue slots while
//           memory bound: 64 rows are widened while the tensor cores work on the 64 before. Weights do not wait for the
//           kernel before this one, activations do
// Invariant K ranges follow from the matrix alone and parts are added in order: a row's bits do not depend on its batch
// Measured  H200, L2-cold, graph replay: e4m3 24576 x 1536 / 7168 x 16384 with 1 token 21.7 / 43 us, 64 tokens 31.5 /
//           57 us (0.29 / 0.47 of the limit: integer instructions run at half rate); bf16 129280 x 7168 with 1 / 64
//           tokens 437 / 465 us (0.93 / 0.88); 512 tokens 335 TFLOP/s
// Rejected  products that run on over the end of a K block: the compiler then waits after each (C7514); two warpgroups
//           for few tokens, too: no faster
// Source    model-spec.md section 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/strip_sum.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma_bf16.cuh"
#include "kernels/cuda/sm90_linear.hpp"

#include <algorithm>

namespace troupe::cuda {
namespace {

constexpr int strip_rows = 256;
constexpr int block_bytes = 128; // of a weight row: one scale block of e4m3, 64 channels of bf16
constexpr int ring_bytes_max = 224 << 10;
constexpr int resident_ctas = 132;
constexpr int blocks_of_a_start = 4; // what filling the ring and adding the parts cost, in blocks of K

/// Who computes how much. Widening hides its latencies best in many warpgroups, for whose registers 64 tokens are too
/// many.
template <bool Fp8, int Tokens>
struct crew {
  static constexpr int halves = Fp8 && Tokens <= 32 ? 1 : 2; // of 64 rows, of one warpgroup
  static constexpr int consumers = strip_rows / (64 * halves) * 128, threads = consumers + 128;
  static constexpr int consumer_registers = halves == 2 ? 232 : 104, producer_registers = 40;
  /// The thread's warpgroup's first row of the strip: within one scale block.
  __device__ static int first_row() { return threadIdx.x / 128 * 64 * halves; }
};

template <bool Fp8>
constexpr int block_channels = Fp8 ? 128 : 64;
template <bool Fp8>
constexpr int x_boxes = block_channels<Fp8> / 64;

template <bool Fp8, int Tokens>
struct alignas(1024) ring_slot {
  std::uint8_t weights[strip_rows][block_bytes]; // swizzled by the copy engine
  std::uint8_t x[x_boxes<Fp8>][Tokens][128];
};

template <bool Fp8, int Tokens>
struct shared_layout {
  using slot = ring_slot<Fp8, Tokens>;
  static constexpr int stages = std::min<int>(6, ring_bytes_max / sizeof(slot));
  union {
    slot ring[stages];
    strip_parts<Tokens, strip_rows> parts; // of this CTA's K range, once the ring is empty
  };
  std::uint64_t full[stages], empty[stages];
};

/// What one CTA computes.
struct work {
  int group, first_row, first_token, tokens;
  int split, splits, first_block, blocks;

  __device__ work(const linear_args& args, int channels) {
    const int strips = (args.rows + strip_rows - 1) / strip_rows, all = args.cols / channels;
    group = blockIdx.z / strips, first_row = blockIdx.z % strips * strip_rows;
    tokens = args.group_tokens ? min(args.tokens, args.group_tokens[group]) : args.tokens;
    split = blockIdx.x, splits = gridDim.x;
    first_block = all * split / splits, blocks = all * (split + 1) / splits - first_block;
  }
};

template <bool Fp8, int Tokens>
__device__ void produce(shared_layout<Fp8, Tokens>& s, const CUtensorMap* weights, const CUtensorMap* x, const work& w,
                        int rows, std::uint64_t weights_hint) {
  constexpr int stages = shared_layout<Fp8, Tokens>::stages;
  const auto load_weights = [&](int i, int slot) {
    ptx::mbarrier_expect_bytes(&s.full[slot], sizeof(s.ring[slot]));
    const int column = (w.first_block + i) * (Fp8 ? block_bytes : block_bytes / 2);
    ptx::copy_tile(s.ring[slot].weights, weights, &s.full[slot], column, w.group * rows + w.first_row, weights_hint);
  };
  const auto load_x = [&](int i, int slot) {
    for (int box = 0; box < x_boxes<Fp8>; ++box)
      ptx::copy_tile(s.ring[slot].x[box], x, &s.full[slot], (w.first_block + i) * block_channels<Fp8> + box * 64,
                     w.first_token, w.group, ptx::evict_last);
  };
  const int ahead = min(stages, w.blocks);
  for (int i = 0; i < ahead; ++i) load_weights(i, i);
  ptx::grid_dependency_wait();
  for (int i = 0; i < ahead; ++i) load_x(i, i);
  int slot = 0;
  std::uint32_t parity = 0;
  for (int i = stages; i < w.blocks; ++i) {
    ptx::mbarrier_wait(&s.empty[slot], parity);
    load_weights(i, slot);
    load_x(i, slot);
    if (++slot == stages) slot = 0, parity ^= 1;
  }
}

/// A's registers for 64 weight rows and one block of K: 8 steps of 16 channels.
using fragments = std::uint32_t[8][4];

/// Channels 2q, 2q+1 and 2q+8, 2q+9 of every step for lane 4r+q, of rows r and r+8 of the warp's 16.
__device__ void widen_rows(const std::uint8_t (&tile)[strip_rows][block_bytes], int first_row, fragments& a) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const auto* row = tile[first_row + warp * 16 + lane / 4] + lane % 4 * 2;
  const auto widen = [](const std::uint8_t* pair) {
    return mma::widen_pair(__byte_perm(*reinterpret_cast<const std::uint16_t*>(pair), 0, 0x1404));
  };
#pragma unroll
  for (int step = 0; step < 8; ++step) {
    const auto* at = row + ((step ^ (lane / 4)) << 4); // 16-byte chunk c of row r lies at chunk c ^ (r % 8)
    a[step][0] = widen(at), a[step][1] = widen(at + 8 * block_bytes);
    a[step][2] = widen(at + 8), a[step][3] = widen(at + 8 * block_bytes + 8);
  }
}

template <int N>
__device__ void promote(float (&total)[N], float (&part)[N], float scale) {
  ptx::pin(part);
#pragma unroll
  for (int i = 0; i < N; ++i) total[i] = fmaf(scale, part[i], total[i]);
}

template <bool Fp8, int Tokens>
__device__ void release(shared_layout<Fp8, Tokens>& s, int slot) {
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(&s.empty[slot]);
}

// Accumulator element i of a thread: weight row warp * 16 + lane / 4 + 8 * (i / 2 % 2) of 64, token 8 * (i / 4) + lane
// % 4 * 2 + i % 2.
template <bool Fp8, int Tokens>
using accumulator = float[crew<Fp8, Tokens>::halves][Tokens / 2];

template <int Tokens>
__device__ void multiply(shared_layout<true, Tokens>& s, const float* scales, const work& w,
                         accumulator<true, Tokens>& total) {
  constexpr int halves = crew<true, Tokens>::halves;
  int slot = 0;
  std::uint32_t parity = 0;
  float next_scale = __ldg(scales + w.first_block);
  for (int k = 0; k < w.blocks; ++k) {
    const float scale = next_scale;
    next_scale = __ldg(scales + w.first_block + min(k + 1, w.blocks - 1));
    const auto& from = s.ring[slot];
    const auto b = ptx::k_major_descriptor(from.x);
    accumulator<true, Tokens> part;
    fragments a[halves];
    ptx::mbarrier_wait(&s.full[slot], parity);
#pragma unroll
    for (int m = 0; m < halves; ++m) {
      widen_rows(from.weights, crew<true, Tokens>::first_row() + m * 64, a[m]);
      ptx::wgmma_fence();
#pragma unroll
      for (int step = 0; step < 8; ++step) // 32 bytes further = 2 in descriptor units; a box of x = 8 a token
        ptx::wgmma_bf16<Tokens>::run(part[m], a[m][step], b + step / 4 * Tokens * 8 + step % 4 * 2, step != 0);
      ptx::wgmma_commit();
    }
    if constexpr (halves == 2) {
      ptx::wgmma_wait<1>();
      promote(total[0], part[0], scale);
    }
    ptx::wgmma_wait<0>();
    release(s, slot);
    promote(total[halves - 1], part[halves - 1], scale);
    if (++slot == s.stages) slot = 0, parity ^= 1;
  }
}

template <int Tokens>
__device__ void multiply(shared_layout<false, Tokens>& s, const float*, const work& w,
                         accumulator<false, Tokens>& total) {
  constexpr int halves = crew<false, Tokens>::halves;
  int slot = 0;
  std::uint32_t parity = 0;
  for (int k = 0; k < w.blocks; ++k) {
    ptx::mbarrier_wait(&s.full[slot], parity);
    const auto a = ptx::k_major_descriptor(s.ring[slot].weights[crew<false, Tokens>::first_row()]);
    const auto b = ptx::k_major_descriptor(s.ring[slot].x);
    ptx::wgmma_fence();
#pragma unroll
    for (int m = 0; m < halves; ++m)
#pragma unroll
      for (int step = 0; step < 4; ++step) // 64 rows = 512 in descriptor units
        ptx::wgmma_bf16<Tokens>::run(total[m], a + m * 512 + step * 2, b + step * 2, 1);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    release(s, slot);
    if (++slot == s.stages) slot = 0, parity ^= 1;
  }
  ptx::wgmma_wait<0>();
#pragma unroll
  for (int m = 0; m < halves; ++m) ptx::pin(total[m]);
}

template <bool Fp8, int Tokens>
__device__ void leave_parts(const accumulator<Fp8, Tokens>& total, strip_parts<Tokens, strip_rows>& parts) {
  const int lane = threadIdx.x % 32, first_row = crew<Fp8, Tokens>::first_row() + threadIdx.x / 32 % 4 * 16;
#pragma unroll
  for (int m = 0; m < crew<Fp8, Tokens>::halves; ++m)
#pragma unroll
    for (int i = 0; i < Tokens / 2; ++i)
      parts[i / 4 * 8 + lane % 4 * 2 + i % 2][first_row + m * 64 + lane / 4 + i / 2 % 2 * 8] = total[m][i];
}

template <bool Fp8, int Tokens>
__global__ void __launch_bounds__(crew<Fp8, Tokens>::threads, 1)
    wide_linear_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap x,
                       const linear_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout<Fp8, Tokens>*>(raw);
  constexpr int consumers = crew<Fp8, Tokens>::consumers;
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (args.group_tokens) ptx::grid_dependency_wait();
  work w(args, block_channels<Fp8>);
  w.first_token = blockIdx.y * Tokens;
  if (w.first_token >= w.tokens) return; // all CTAs of the cluster alike
  if (threadIdx.x == 0) {
    for (int i = 0; i < s.stages; ++i)
      ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], consumers / 32);
    ptx::fence_barrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= consumers) {
    ptx::give_registers<crew<Fp8, Tokens>::producer_registers>();
    if (threadIdx.x == consumers)
      produce<Fp8, Tokens>(s, &weights, &x, w, args.rows, gridDim.y > 1 ? ptx::evict_last : ptx::evict_first);
    __syncwarp();
  } else {
    ptx::take_registers<crew<Fp8, Tokens>::consumer_registers>();
    const int scale_row = min(w.first_row + crew<Fp8, Tokens>::first_row(), args.rows - 1) / 128;
    const float* scales =
        Fp8 ? args.scales + (std::size_t(w.group) * ((args.rows + 127) / 128) + scale_row) * (args.cols / 128)
            : nullptr;
    accumulator<Fp8, Tokens> total = {};
    multiply<Tokens>(s, scales, w, total);
    ptx::named_barrier(1, consumers); // the ring is read for the last time
    leave_parts<Fp8, Tokens>(total, s.parts);
    ptx::grid_dependency_wait(); // of y, which may be added to
  }
  ptx::grid_launch_dependents();
  ptx::cluster_sync();
  if (threadIdx.x < consumers)
    add_parts<consumers, Tokens, strip_rows>(
        s.parts, args, w.group * args.y_group + std::size_t(w.first_token) * args.y_pitch + w.first_row, w.first_row,
        min(Tokens, w.tokens - w.first_token), w.split, w.splits);
  ptx::cluster_sync(); // nobody leaves while others read its parts
}

template <bool Fp8, int Tokens>
cudaError_t launch(const linear_args& args, cudaStream_t stream) {
  CUtensorMap weights, x;
  const auto weight_rows = std::uint64_t(args.groups) * args.rows;
  if (const auto e = Fp8 ? make_byte_map(&weights, args.weights, weight_rows, args.cols, strip_rows)
                         : make_bf16_map(&weights, args.weights, weight_rows, args.cols, strip_rows))
    return e;
  const std::uint64_t group_pitch = args.groups > 1 ? args.x_group : args.x_pitch;
  if (const auto e =
          make_grouped_bf16_map(&x, args.x, args.groups, args.tokens, args.cols, Tokens, args.x_pitch, group_pitch))
    return e;
  constexpr int shared_bytes = sizeof(shared_layout<Fp8, Tokens>);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  const int strips = (args.rows + strip_rows - 1) / strip_rows;
  const int splits = wide_linear_splits(args.rows, args.cols, Fp8, args.groups);
  const dim3 grid(splits, (args.tokens + Tokens - 1) / Tokens, strips * args.groups);
  return launch_dependent(wide_linear_kernel<Fp8, Tokens>,
                          {grid, crew<Fp8, Tokens>::threads, shared_bytes, unsigned(splits)}, stream, weights, x, args);
}

template <bool Fp8>
cudaError_t launch_for(const linear_args& args, cudaStream_t stream) {
  if (args.tokens <= 8) return launch<Fp8, 8>(args, stream);
  if (args.tokens <= 16) return launch<Fp8, 16>(args, stream);
  if (args.tokens <= 32) return launch<Fp8, 32>(args, stream);
  return launch<Fp8, 64>(args, stream);
}

} // namespace

/// The fewest blocks of K that follow one another on a multiprocessor.
int wide_linear_splits(int rows, int cols, bool fp8, int groups) {
  const int blocks = cols / (fp8 ? 128 : 64), strips = (rows + strip_rows - 1) / strip_rows * groups;
  const auto cost = [&](int splits) {
    const int waves = (strips * splits + resident_ctas - 1) / resident_ctas;
    return waves * ((blocks + splits - 1) / splits + blocks_of_a_start);
  };
  int best = 1;
  for (int splits = 2; splits <= 8 && splits <= blocks; splits *= 2)
    if (cost(splits) < cost(best)) best = splits;
  return best;
}

cudaError_t wide_linear(const linear_args& args, cudaStream_t stream) {
  return args.scales ? launch_for<true>(args, stream) : launch_for<false>(args, stream);
}

} // namespace troupe::cuda
