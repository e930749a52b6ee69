// Math      l = x Wᵀ;  s = sigmoid(l) or softmax(l);  b = s + bias;  groups by the sum of their two best b, or their
//           best;  top_k of b in the kept groups;  w = s[chosen] (/ sum) * scaling
// Shapes    x [tokens, hidden] bf16, W [experts, hidden] bf16; all arithmetic fp32
// Roofline  decode: W once, R1 3.7 MB: 1 us at 4.5 TB/s; every row reads W again from L2, so prefill costs 1 us a row
//           and SM
// Mapping   one CTA a row: a warp an expert for the products, then one warp chooses
// Invariant a row's bits depend on that row and W only
// Source    model-spec.md 7.2
#include "kernels/cuda/route.hpp"

#include <cuda_bf16.h>

#include <cmath>

namespace troupe::cuda {
namespace {

constexpr int warps = 8;

struct gate_memory {
  float score[route_experts_max], choice[route_experts_max];
  float group[route_groups_max];
  int chosen[route_top_k_max];
};

__device__ float dot(const uint4* x, const uint4* w, int eighths) {
  float sum = 0;
  for (int i = threadIdx.x % 32; i < eighths; i += 32) {
    const uint4 a = x[i], b = __ldg(w + i);
    const auto* p = reinterpret_cast<const __nv_bfloat162*>(&a);
    const auto* q = reinterpret_cast<const __nv_bfloat162*>(&b);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 u = __bfloat1622float2(p[j]), v = __bfloat1622float2(q[j]);
      sum = fmaf(u.x, v.x, sum);
      sum = fmaf(u.y, v.y, sum);
    }
  }
#pragma unroll
  for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
  return sum;
}

/// Index of the largest of values[0..count), the lowest of equals; called by one whole warp. -1: all are -inf or NaN.
__device__ int largest(const float* values, int count) {
  float best = -INFINITY;
  int at = -1;
  for (int i = threadIdx.x % 32; i < count; i += 32)
    if (values[i] > best) best = values[i], at = i;
#pragma unroll
  for (int d = 16; d; d /= 2) {
    const float other = __shfl_xor_sync(~0u, best, d);
    const int other_at = __shfl_xor_sync(~0u, at, d);
    if (other > best || (other == best && other_at >= 0 && (at < 0 || other_at < at))) best = other, at = other_at;
  }
  return at;
}

__device__ void softmax(float* s, int count) { // by one thread: V2 has 64 or 160 experts
  float peak = s[0], sum = 0;
  for (int e = 1; e < count; ++e) peak = fmaxf(peak, s[e]);
  for (int e = 0; e < count; ++e) sum += s[e] = expf(s[e] - peak);
  for (int e = 0; e < count; ++e) s[e] /= sum;
}

__device__ float group_score(const float* members, int size, bool pairs) {
  float best = -INFINITY, second = -INFINITY;
  for (int i = 0; i < size; ++i) {
    if (members[i] > best)
      second = best, best = members[i];
    else
      second = fmaxf(second, members[i]);
  }
  return pairs ? best + second : best;
}

/// Masks experts of the groups that are not kept; one warp.
__device__ void limit_groups(const route_config& c, gate_memory& m) {
  const int lane = threadIdx.x, size = c.experts / c.groups;
  for (int g = lane; g < c.groups; g += 32) m.group[g] = group_score(m.choice + g * size, size, c.pair_scores);
  __syncwarp();
  unsigned long long kept = 0;
  for (int i = 0; i < c.groups_kept; ++i) {
    const int best = largest(m.group, c.groups);
    if (best < 0) break;
    kept |= 1ull << best;
    __syncwarp();
    if (lane == 0) m.group[best] = -INFINITY;
    __syncwarp();
  }
  for (int e = lane; e < c.experts; e += 32)
    if (!(kept >> (e / size) & 1)) m.choice[e] = -INFINITY;
  __syncwarp();
}

/// Fills m.chosen, ascending; one warp.
__device__ void choose(const route_config& c, gate_memory& m) {
  for (int j = 0; j < c.top_k; ++j) {
    const int best = max(largest(m.choice, c.experts), 0);
    __syncwarp();
    if (threadIdx.x == 0) {
      m.choice[best] = -INFINITY;
      int place = j;
      for (; place > 0 && m.chosen[place - 1] > best; --place) m.chosen[place] = m.chosen[place - 1];
      m.chosen[place] = best;
    }
    __syncwarp();
  }
}

__global__ void __launch_bounds__(warps * 32)
    route_kernel(route_config c, const std::uint16_t* x, const std::uint16_t* weight, const float* bias, int hidden,
                 int* chosen, float* weights) {
  __shared__ gate_memory m;
  const std::size_t token = blockIdx.x;
  const auto* row = reinterpret_cast<const uint4*>(x + token * hidden);
  for (int e = threadIdx.x / 32; e < c.experts; e += warps) {
    const float l = dot(row, reinterpret_cast<const uint4*>(weight + std::size_t(e) * hidden), hidden / 8);
    if (threadIdx.x % 32 == 0) m.score[e] = c.softmax ? l : 1.0f / (1.0f + expf(-l));
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  if (c.softmax && threadIdx.x == 0) softmax(m.score, c.experts);
  __syncwarp();
  for (int e = threadIdx.x; e < c.experts; e += 32) m.choice[e] = m.score[e] + (bias ? bias[e] : 0.0f);
  __syncwarp();
  if (c.limited) limit_groups(c, m);
  choose(c, m);
  float sum = 0;
  for (int j = 0; j < c.top_k; ++j) sum += m.score[m.chosen[j]];
  for (int j = threadIdx.x; j < c.top_k; j += 32) {
    const float s = m.score[m.chosen[j]];
    chosen[token * c.top_k + j] = m.chosen[j];
    weights[token * c.top_k + j] = (c.normalise ? s / (sum + 1e-20f) : s) * c.scaling;
  }
}

// One warp an expert walks all choices in order.
__global__ void place_kernel(const int* chosen, int choices, int top_k, const int* owned, int rows_max, int* rows,
                             int* token_of, int* slot_of) {
  const int expert = blockIdx.x, lane = threadIdx.x, wanted = owned ? owned[expert] : expert;
  int count = 0;
  for (int first = 0; first < choices; first += 32) {
    const int i = first + lane;
    const bool mine = i < choices && chosen[i] == wanted;
    const unsigned votes = __ballot_sync(~0u, mine);
    if (mine) {
      const int slot = expert * rows_max + count + __popc(votes & ((1u << lane) - 1));
      token_of[slot] = i / top_k;
      slot_of[i] = slot;
    }
    count += __popc(votes);
  }
  if (lane == 0) rows[expert] = count;
}

constexpr int sort_threads = 1024;

/// Sum of `mine` over a CTA of sort_threads, for all of them.
__device__ int sum_of_block(int mine) {
  __shared__ int of_warp[32];
  const int warp_sum = __reduce_add_sync(~0u, mine);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = warp_sum;
  __syncthreads();
  return __reduce_add_sync(~0u, of_warp[threadIdx.x % 32]);
}

// One CTA an expert: counts the choices of experts before it, then walks all choices in order.
__global__ void __launch_bounds__(sort_threads)
    sort_kernel(const int* chosen, int choices, int top_k, int* segments, int* token_of, int* slot_of) {
  __shared__ int of_warp[2][32]; // two, so that one barrier a round is enough
  const int expert = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int before = 0;
  for (int i = threadIdx.x; i < choices; i += sort_threads) before += chosen[i] < expert;
  int next = sum_of_block(before);
  if (threadIdx.x == 0) segments[expert] = next;
  for (int first = 0, round = 0; first < choices; first += sort_threads, round ^= 1) {
    const int i = first + threadIdx.x;
    const bool mine = i < choices && chosen[i] == expert;
    const unsigned votes = __ballot_sync(~0u, mine);
    if (lane == 0) of_warp[round][warp] = __popc(votes);
    __syncthreads();
    const int count = of_warp[round][lane], earlier = __reduce_add_sync(~0u, lane < warp ? count : 0);
    if (mine) {
      const int slot = next + earlier + __popc(votes & ((1u << lane) - 1));
      token_of[slot] = i / top_k, slot_of[i] = slot;
    }
    next += __reduce_add_sync(~0u, count);
  }
  if (expert == int(gridDim.x) - 1 && threadIdx.x == 0) segments[expert + 1] = next;
}

} // namespace

cudaError_t route_rows(const route_config& c, const std::uint16_t* x, const std::uint16_t* weight, const float* bias,
                       int tokens, int hidden, int* chosen, float* weights, cudaStream_t stream) {
  if (hidden % 8 || c.experts < 1 || c.experts > route_experts_max || c.groups < 1 || c.groups > route_groups_max ||
      c.experts % c.groups || c.top_k < 1 || c.top_k > route_top_k_max || c.top_k > c.experts ||
      c.groups_kept > c.groups)
    return cudaErrorInvalidValue;
  if (tokens == 0) return cudaSuccess;
  route_kernel<<<tokens, warps * 32, 0, stream>>>(c, x, weight, bias, hidden, chosen, weights);
  return cudaGetLastError();
}

cudaError_t place_rows(const int* chosen, int tokens, int top_k, int experts, int rows_max, int* rows, int* token_of,
                       int* slot_of, cudaStream_t stream) {
  return place_owned_rows(chosen, tokens, top_k, nullptr, experts, rows_max, rows, token_of, slot_of, stream);
}

cudaError_t place_owned_rows(const int* chosen, int tokens, int top_k, const int* owned, int experts, int rows_max,
                             int* rows, int* token_of, int* slot_of, cudaStream_t stream) {
  if (rows_max < tokens || top_k < 1) return cudaErrorInvalidValue;
  if (experts == 0) return cudaSuccess;
  place_kernel<<<experts, 32, 0, stream>>>(chosen, tokens * top_k, top_k, owned, rows_max, rows, token_of, slot_of);
  return cudaGetLastError();
}

cudaError_t sort_rows(const int* chosen, int tokens, int top_k, int experts, int* segments, int* token_of, int* slot_of,
                      cudaStream_t stream) {
  if (top_k < 1 || experts < 1) return cudaErrorInvalidValue;
  sort_kernel<<<experts, sort_threads, 0, stream>>>(chosen, tokens * top_k, top_k, segments, token_of, slot_of);
  return cudaGetLastError();
}

} // namespace troupe::cuda
