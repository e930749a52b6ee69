// Math      s = sigmoid(l) or softmax(l);  b = s + bias;  a group scores its two best b, or its best;  top_k of b in
//           the kept groups;  w = s (/ sum) * scaling
// Shapes    l [tokens, experts] fp32
// Roofline  a few KB: launch-bound
// Mapping   one CTA a token, a thread an expert; who is chosen is known from ranks, first in a warp, then among the
// best
//           of every warp
// Measured  H200, L2-cold, by clock stamps: 1 token 2.2 us from start to choice, 64 tokens 2.5, 256 tokens 3.2-3.9
// Rejected  a warp a token, eight experts a lane, the best of all top_k times: 2.9, 3.2, 3.7; with divisions and a lane
// a
//           group 3.0, 3.4, 3.7: a lone warp waits for each of its instructions. It is not their fetching: a second
//           pass over the same token takes as long
// Source    model-spec.md section 7.2
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/quantise.cuh"
#include "kernels/cuda/gate_permute.hpp"

#include <climits>

namespace troupe::cuda {
namespace {

constexpr int gate_threads = gate_experts_max, gate_warps = gate_threads / 32; // a thread an expert

struct gate_memory {
  float choice[gate_experts_max]; // b
  float score[gate_experts_max];  // for softmax
  float group[gate_experts_max];
  alignas(16) int keys[gate_warps][32];              // of b
  alignas(16) int best[gate_warps][route_top_k_max]; // keys of a warp's top_k, descending
  int chosen_of_warp[gate_warps];
  int chosen[route_top_k_max];
  float weight[route_top_k_max];
};

/// Keys of no expert and of nothing; one more is subtracted from the former.
constexpr int absent_key = INT_MIN + 1, empty_key = INT_MIN;
/// Floats as integers of the same order.
__device__ int ordered(float x) {
  const int bits = __float_as_int(x);
  return max(bits >= 0 ? bits : bits ^ 0x7FFFFFFF, absent_key + 1);
}

/// Of a logit, -inf where there is no expert. Sums of softmax go over 32 apart first.
template <bool Softmax>
__device__ float score(float logit, gate_memory& m) {
  if constexpr (Softmax) {
    const int lane = threadIdx.x % 32;
    m.score[threadIdx.x] = logit;
    __syncthreads();
    float peak = m.score[lane], sum = 0, own = 0;
#pragma unroll
    for (int j = 1; j < gate_warps; ++j) peak = fmaxf(peak, m.score[32 * j + lane]);
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
#pragma unroll
    for (int j = 0; j < gate_warps; ++j) {
      const float e = expf(m.score[32 * j + lane] - peak);
      sum += e, own = j == threadIdx.x / 32 ? e : own;
    }
#pragma unroll
    for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    return own / sum;
  } else {
    const float y = 1.0f + expf(logit < -88.0f ? 88.0f : -logit); // finite, unless the logit is not a number
    return divide(1.0f, y, ptx::reciprocal_approx(y));
  }
}

/// Groups of experts as threads walk them. Divisions are for the host: one takes as long as a walk.
struct group_walk {
  int size;    ///< experts of a group
  int inverse; ///< e * inverse / 65536 is the group of e
  int share;   ///< log2 of the lanes that walk a group together
  explicit group_walk(const route_config& c)
      : size(c.experts / c.groups), inverse((65536 + size - 1) / size), share(0) {
    while (share < 5 && 2 << share <= gate_threads / c.groups) ++share;
  }
};

/// Whether this thread's expert is in one of the kept groups; m.choice is complete.
__device__ bool is_kept(const route_config& c, const group_walk& walk, gate_memory& m) {
  const int part = threadIdx.x & ((1 << walk.share) - 1), g = threadIdx.x >> walk.share;
  float best = -INFINITY, second = -INFINITY;
  if (g < c.groups)
#pragma unroll 1
    for (int i = part; i < walk.size; i += 1 << walk.share) {
      const float v = m.choice[g * walk.size + i];
      second = fmaxf(second, fminf(best, v)), best = fmaxf(best, v);
    }
#pragma unroll 1
  for (int d = 1 << walk.share >> 1; d; d >>= 1) {
    const float other = __shfl_xor_sync(~0u, best, d), next = __shfl_xor_sync(~0u, second, d);
    second = fmaxf(fmaxf(second, next), fminf(best, other)), best = fmaxf(best, other);
  }
  if (g < c.groups && part == 0) m.group[g] = best + (c.pair_scores ? second : 0.0f);
  __syncthreads();
  const int own = min(int(threadIdx.x) * walk.inverse >> 16, c.groups - 1);
  const float mine = m.group[own];
  int better = 0;
#pragma unroll 4
  for (int other = 0; other < c.groups; ++other)
    better += m.group[other] > mine || (m.group[other] == mine && other < own);
  return better < c.groups_kept;
}

/// Whether this thread's key is one of the top_k largest, the lowest index among equals: those of its warp first, then
/// those of the top_k of every warp.
__device__ bool is_chosen(int top_k, int key, gate_memory& m) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  m.keys[warp][lane] = key;
  m.best[warp][lane] = empty_key;
  __syncwarp();
  int rank = 0;
#pragma unroll
  for (int i = 0; i < 32; i += 4) {
    const int4 other = *reinterpret_cast<const int4*>(&m.keys[warp][i]);
    rank += other.x > key - (i < lane);
    rank += other.y > key - (i + 1 < lane);
    rank += other.z > key - (i + 2 < lane);
    rank += other.w > key - (i + 3 < lane);
  }
  if (rank < top_k) m.best[warp][rank] = key;
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < top_k; i += 4)
#pragma unroll
    for (int w = 0; w < gate_warps; ++w) {
      const int4 other = *reinterpret_cast<const int4*>(&m.best[w][i]);
      const int least = w == warp ? INT_MAX : key - (w < warp);
      rank += (other.x > least) + (other.y > least) + (other.z > least) + (other.w > least);
    }
  return rank < top_k;
}

template <bool Softmax>
__global__ void __launch_bounds__(gate_threads) gate_kernel(const gate_permute_args args, const group_walk walk) {
  __shared__ gate_memory m;
  static_assert(route_top_k_max == 32, "a lane each");
  const auto& c = args.route;
  const int e = threadIdx.x, lane = e % 32, warp = e / 32, token = blockIdx.x;
  const bool exists = e < c.experts;
  const float bias = args.bias && exists ? args.bias[e] : 0.0f; // a weight: older than any kernel
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const float own = score<Softmax>(exists ? args.logits[std::size_t(token) * c.experts + e] : -INFINITY, m);
  float choice = own + bias;
  if (c.limited) {
    m.choice[e] = choice;
    __syncthreads();
    if (!is_kept(c, walk, m)) choice = -INFINITY;
  }
  const bool chosen = is_chosen(c.top_k, exists ? ordered(choice) : absent_key, m);
  const unsigned votes = __ballot_sync(~0u, chosen);
  if (lane == 0) m.chosen_of_warp[warp] = __popc(votes);
  __syncthreads();
  if (chosen) {
    int place = __popc(votes & ((1u << lane) - 1));
#pragma unroll
    for (int w = 0; w < gate_warps; ++w) place += w < warp ? m.chosen_of_warp[w] : 0;
    m.chosen[place] = e, m.weight[place] = own;
  }
  __syncthreads();
  if (e >= c.top_k) return;
  float sum = 1e-20f;
#pragma unroll 4
  for (int j = 0; j < c.top_k; ++j) sum += m.weight[j];
  args.chosen[std::size_t(token) * c.top_k + e] = m.chosen[e];
  args.weights[std::size_t(token) * (c.top_k + args.shared) + e] =
      (c.normalise ? m.weight[e] / sum : m.weight[e]) * c.scaling;
}

} // namespace

cudaError_t gate_rows(const gate_permute_args& args, cudaStream_t stream) {
  const auto& c = args.route;
  if (c.experts < 1 || c.experts > gate_experts_max || c.groups < 1 || c.experts % c.groups ||
      c.groups_kept > c.groups || c.top_k < 1 || c.top_k > route_top_k_max || c.top_k > c.experts ||
      (c.limited && c.groups_kept * (c.experts / c.groups) < c.top_k))
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(c.softmax ? gate_kernel<true> : gate_kernel<false>, {dim3(args.tokens), gate_threads}, stream,
                          args, group_walk(c));
}

} // namespace troupe::cuda
