// Math      y[t,n] = sum_b sw[n/128,b] sx[t,b] (sum_{k in block b} W[n,k] x[t,k]) (+ bias[n]); fp32 sums of 128-wide
//           tensor core products (two-level accumulation)
// Shapes    W [rows, K] e4m3, x [tokens, K] e4m3, sx [tokens, K/128], y [tokens, rows] bf16 or f32
// Roofline  W once: 24576 x 1536 = 37.7 MB, 8.3 us at 4.54 TB/s; 7168 x 16384 = 117 MB, 25.9 us
// Mapping   swap-AB as the grouped kernel: 64 weight rows an instruction, 8..64 tokens on the N side. A CTA is one
//           128-row strip of weights and a range of K, two CTAs an SM, 64-96 KB of weights in flight each; the CTAs of
//           a strip form a cluster and add their parts in order through distributed shared memory. Weights do not wait
//           for the kernel before this one, activations do
// Invariant K ranges follow from the matrix alone and parts are added in order: a row's bits do not depend on its batch
// Measured  H200, L2-cold, graph replay: 24576 x 1536 / 7168 x 16384, 64 tokens: 19.0 / 42.4 us, 1 token 15.4 / 36.6 us
//           (in the same run 22.9 / 42.7 and 16.2 / 36.8 us with one value a store and a way through the cluster also
//           for a CTA that is alone). Without results 64 tokens take 4.5 us less, without tokens or factors 0.5
// Rejected  parts read one float at a time from distributed shared memory: 32.8 us for 64 tokens; splits that balance
//           the multiprocessors (2 and 7 of K, three CTAs an SM): 15.9 / 41.5, 28.5 / 48.2 us
// Source    model-spec.md section 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/strip_sum.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/fp8_linear.hpp"

#include <algorithm>

namespace troupe::cuda {
namespace {

constexpr int block_k = 128;
constexpr int strip_rows = 128;
constexpr int consumer_threads = 128;
constexpr int threads = consumer_threads + 32;
constexpr int blocks_max = 48; // of 128 along K, of one CTA
constexpr int resident_ctas = 264;

template <int Tokens>
struct alignas(1024) ring_slot {
  std::uint8_t weights[strip_rows][block_k]; // swizzled by the copy engine
  std::uint8_t tokens[Tokens][block_k];
};

template <int Tokens>
struct shared_layout {
  static constexpr int stages = Tokens <= 16 ? 6 : Tokens <= 32 ? 5 : 4;
  union {
    ring_slot<Tokens> ring[stages];
    strip_parts<Tokens, strip_rows> parts; // of this CTA's K range, once the ring is empty
  };
  float factors[blocks_max][Tokens]; // scale of the block's weights times scale of the token
  std::uint64_t full[stages], empty[stages];
};

struct k_range {
  int first, last; // blocks
  __device__ k_range(int cols, int split, int splits) {
    const int blocks = cols / block_k;
    first = blocks * split / splits, last = blocks * (split + 1) / splits;
  }
};

template <int Tokens>
__device__ void produce(shared_layout<Tokens>& s, const CUtensorMap* weights, const CUtensorMap* x, int first_row,
                        int first_token, k_range k) {
  constexpr int stages = shared_layout<Tokens>::stages;
  const auto load_weights = [&](int b, int slot) {
    ptx::mbarrier_expect_bytes(&s.full[slot], sizeof(ring_slot<Tokens>));
    ptx::copy_tile(s.ring[slot].weights, weights, &s.full[slot], b * block_k, first_row, ptx::evict_first);
  };
  const auto load_tokens = [&](int b, int slot) {
    ptx::copy_tile(s.ring[slot].tokens, x, &s.full[slot], b * block_k, first_token, ptx::evict_last);
  };
  const int ahead = min(stages, k.last - k.first);
  for (int i = 0; i < ahead; ++i) load_weights(k.first + i, i);
  ptx::grid_dependency_wait();
  for (int i = 0; i < ahead; ++i) load_tokens(k.first + i, i);
  int slot = 0;
  std::uint32_t parity = 0;
  for (int b = k.first + stages; b < k.last; ++b) {
    ptx::mbarrier_wait(&s.empty[slot], parity);
    load_weights(b, slot);
    load_tokens(b, slot);
    if (++slot == stages) slot = 0, parity ^= 1;
  }
}

// Accumulator element i of a thread: weight row warp * 16 + lane / 4 + 8 * (i / 2 % 2), token 8 * (i / 4) + lane % 4 *
// 2
// + i % 2.
template <int Tokens>
using accumulator = float[2][Tokens / 2]; // two 64-row halves of the strip

template <int Tokens>
__device__ void promote(float (&total)[Tokens / 2], float (&part)[Tokens / 2], const float* factors) {
  ptx::pin(part);
#pragma unroll
  for (int j = 0; j < Tokens / 8; ++j) {
    const float2 f = *reinterpret_cast<const float2*>(factors + 8 * j);
#pragma unroll
    for (int i = 4 * j; i < 4 * j + 4; ++i) total[i] = fmaf(i % 2 ? f.y : f.x, part[i], total[i]);
  }
}

template <int Tokens>
__device__ void multiply(shared_layout<Tokens>& s, int blocks, accumulator<Tokens>& total) {
  const int lane = threadIdx.x % 32;
  int slot = 0;
  std::uint32_t parity = 0;
  for (int k = 0; k < blocks; ++k) {
    const auto& from = s.ring[slot];
    float part[2][Tokens / 2];
    ptx::mbarrier_wait(&s.full[slot], parity);
    const auto a = ptx::k_major_descriptor(from.weights), b = ptx::k_major_descriptor(from.tokens);
    ptx::wgmma_fence();
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int step = 0; step < block_k / 32; ++step) // 32 bytes further = 2 in descriptor units; 64 rows = 512
        ptx::wgmma_e4m3<Tokens>::run(part[m], a + m * 512 + step * 2, b + step * 2, step != 0);
      ptx::wgmma_commit();
    }
    const float* factors = s.factors[k] + lane % 4 * 2;
    ptx::wgmma_wait<1>();
    promote<Tokens>(total[0], part[0], factors);
    ptx::wgmma_wait<0>();
    if (lane == 0) ptx::mbarrier_arrive(&s.empty[slot]);
    promote<Tokens>(total[1], part[1], factors);
    if (++slot == s.stages) slot = 0, parity ^= 1;
  }
}

template <int Tokens>
__device__ void load_factors(shared_layout<Tokens>& s, const fp8_linear_args& args, int first_row, int first_token,
                             k_range k) {
  const int blocks = args.cols / block_k;
  const float* weight_scales = args.scales + std::size_t(first_row / 128) * blocks;
  for (int i = threadIdx.x; i < Tokens * (k.last - k.first); i += consumer_threads) {
    const int b = i % (k.last - k.first), t = i / (k.last - k.first), token = min(first_token + t, args.tokens - 1);
    s.factors[b][t] = __ldg(weight_scales + k.first + b) * args.x_scales[std::size_t(token) * blocks + k.first + b];
  }
  ptx::named_barrier(1, consumer_threads);
}

template <int Tokens>
__global__ void __launch_bounds__(threads, 2)
    fp8_linear_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap x,
                      const fp8_linear_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout<Tokens>*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (threadIdx.x == 0) {
    for (int i = 0; i < s.stages; ++i)
      ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], consumer_threads / 32);
    ptx::fence_barrier_init();
  }
  __syncthreads();
  const int split = blockIdx.x, splits = gridDim.x, first_row = blockIdx.y * strip_rows,
            first_token = blockIdx.z * Tokens;
  const k_range k(args.cols, split, splits);
  if (threadIdx.x >= consumer_threads) {
    if (threadIdx.x == consumer_threads) produce<Tokens>(s, &weights, &x, first_row, first_token, k);
    __syncwarp();
  } else {
    ptx::grid_dependency_wait();
    load_factors<Tokens>(s, args, first_row, first_token, k);
    accumulator<Tokens> total = {};
    multiply<Tokens>(s, k.last - k.first, total);
    ptx::named_barrier(1, consumer_threads); // the ring is read for the last time
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int i = 0; i < Tokens / 2; ++i)
        s.parts[i / 4 * 8 + lane % 4 * 2 + i % 2][m * 64 + warp * 16 + lane / 4 + i / 2 % 2 * 8] = total[m][i];
  }
  ptx::grid_launch_dependents();
  if (splits > 1)
    ptx::cluster_sync();
  else
    __syncthreads(); // alone
  if (threadIdx.x < consumer_threads)
    add_parts<consumer_threads, Tokens, strip_rows>(s.parts, args, first_token * std::size_t(args.y_pitch) + first_row,
                                                    first_row, min(Tokens, args.tokens - first_token), split, splits);
  if (splits > 1) ptx::cluster_sync(); // nobody leaves while others read its parts
}

template <int Tokens>
cudaError_t launch(const fp8_linear_args& args, int splits, cudaStream_t stream) {
  CUtensorMap weights, x;
  if (const auto e = make_byte_map(&weights, args.weights, args.rows, args.cols, strip_rows)) return e;
  if (const auto e = make_byte_map(&x, args.x, args.tokens, args.cols, Tokens)) return e;
  constexpr int shared_bytes = sizeof(shared_layout<Tokens>);
  static_assert(2 * (shared_bytes + 1024) <= 233472, "two CTAs' shared memory on sm_90");
  const dim3 grid(splits, (args.rows + strip_rows - 1) / strip_rows, (args.tokens + Tokens - 1) / Tokens);
  return launch_dependent(fp8_linear_kernel<Tokens>, {grid, threads, shared_bytes, unsigned(splits)}, stream, weights,
                          x, args);
}

} // namespace

int fp8_linear_splits(int rows, int cols) {
  const int strips = (rows + strip_rows - 1) / strip_rows, blocks = cols / block_k;
  int splits = 1;
  while (splits < 8 && (2 * splits * strips <= resident_ctas || blocks > splits * blocks_max) && 2 * splits <= blocks)
    splits *= 2;
  return splits;
}

cudaError_t fp8_linear(const fp8_linear_args& args, cudaStream_t stream) {
  if (args.cols <= 0 || args.cols % block_k) return cudaErrorInvalidValue;
  if (args.rows == 0 || args.tokens == 0) return cudaSuccess;
  const int splits = fp8_linear_splits(args.rows, args.cols);
  if ((args.cols / block_k + splits - 1) / splits > blocks_max) return cudaErrorInvalidValue;
  if (args.tokens <= 8) return launch<8>(args, splits, stream);
  if (args.tokens <= 16) return launch<16>(args, splits, stream);
  if (args.tokens <= 32) return launch<32>(args, splits, stream);
  return launch<64>(args, splits, stream);
}

} // namespace troupe::cuda
