// Math      s = sigmoid(l) or softmax(l);  b = s + bias;  a group scores its two best b, or its best;  top_k of b in
//           the kept groups;  w = s (/ sum) * scaling;  slot = number of earlier tokens with the same choice;
//           q = e4m3(x / scale), scale = max(max|x|, 1e-4) / 448 per row and 128 channels
// Shapes    l [tokens, experts] fp32, x [tokens, H] bf16, inputs [experts, rows_max, H] e4m3,
//           scales [experts, H/128, rows_max]
// Roofline  256 tokens, 8 choices and the shared expert, H = 7168: 3.7 MB in, 16.5 MB out: 4.4 us at 4.5 TB/s; an empty
//           kernel takes 2.5 us, so that 8 us are out of reach for 256 tokens while rows are copied to their slots
// Mapping   gate: one CTA a token, one thread an expert; an expert is chosen if fewer than k others beat it, so that
//           nothing is serial.  permute: one CTA a token, which quantises its row into shared memory while the gate
//           still runs, counts the choices before its own and bulk-copies the row to its slots; one more counts rows
// Invariant all counts are integers: slots, weights and bytes are the same in every run
// Measured  H200, L2-cold, graph replay, shared expert included: 1, 64, 128, 256 tokens: 10.0, 10.2, 13.2, 18.6 us;
//           256 tokens: gate 7.9, with counting and quantising 14.4, scales + 1.0, rows + 5.3 (one tuning step earlier)
// Rejected  16-byte stores of the rows instead of bulk copies: the same; unrolled IEEE divisions: 10 KB of cold code;
//           kernels that divide L1 differently: + 17 us at 128 tokens, every multiprocessor must run empty in between
// Source    model-spec.md sections 7.2, 7.3 and 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/quantise.cuh"
#include "kernels/cuda/gate_permute.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int threads = 256;
static_assert(threads == gate_experts_max, "one thread an expert");

struct gate_memory {
  alignas(16) float choice[gate_experts_max]; // b, -inf outside the kept groups
  float group[gate_experts_max];
  float best[gate_experts_max], second[gate_experts_max]; // of each group
  float exponential[gate_experts_max];
  unsigned votes[threads / 32];
  bool live[threads / 32]; // some expert of the warp may be chosen
  float weight[route_top_k_max];
};

/// How many of values[0..count) beat values[i]: larger, or equal with a lower index.
__device__ int beaten_by(const float* values, int count, int i) {
  const float mine = values[i];
  int better = 0;
#pragma unroll 4
  for (int j = 0; j < count; ++j) better += values[j] > mine || (values[j] == mine && j < i);
  return better;
}

/// The smallest float above x, for finite x and -inf.
__device__ float nextafter_up(float x) {
  const int bits = __float_as_int(x);
  return x == 0 ? __int_as_float(1) : __int_as_float(bits + (bits >= 0 ? 1 : -1));
}

/// The same among all experts, a warp's 32 at a time.
__device__ int beaten_among_all(const gate_memory& m, int experts, float mine) {
  int better = 0;
  for (int first = 0; first < experts; first += 32) {
    if (!m.live[first / 32]) continue;
    const float above = nextafter_up(mine); // v >= above: v beats mine, as an equal v of a lower index does
#pragma unroll 2
    for (int j = 0; j < 32; j += 4) {
      const float4 v = *reinterpret_cast<const float4*>(&m.choice[first + j]);
      const int lower = int(threadIdx.x) - (first + j); // how many of the four have a lower index
      better += (v.x >= (lower > 0 ? mine : above)) + (v.y >= (lower > 1 ? mine : above)) +
                (v.z >= (lower > 2 ? mine : above)) + (v.w >= (lower > 3 ? mine : above));
    }
  }
  return better;
}

template <bool Softmax>
__device__ float score_of(const route_config& c, gate_memory& m, float logit) {
  if constexpr (!Softmax) return 1.0f / (1.0f + expf(-logit));
  m.choice[threadIdx.x] = logit;
  __syncthreads();
  float peak = -INFINITY, sum = 0;
  for (int e = 0; e < c.experts; ++e) peak = fmaxf(peak, m.choice[e]);
  m.exponential[threadIdx.x] = expf(logit - peak);
  __syncthreads();
  for (int e = 0; e < c.experts; ++e) sum += m.exponential[e]; // in order, by every thread alike
  return m.exponential[threadIdx.x] / sum;
}

/// Floats as integers of the same order.
__device__ int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : bits ^ 0x7FFFFFFF;
}
__device__ float unordered(int key) { return __int_as_float(key >= 0 ? key : key ^ 0x7FFFFFFF); }

/// The two largest of a warp's values.
__device__ void best_of_warp(float value, float& best, float& second) {
  const int key = ordered(value), first = __reduce_max_sync(~0u, key);
  const int at = __ffs(__ballot_sync(~0u, key == first)) - 1;
  best = unordered(first);
  second = unordered(__reduce_max_sync(~0u, int(threadIdx.x % 32) == at ? ordered(-INFINITY) : key));
}

/// Whether the group of expert `e` is kept; needs m.choice of all experts.
__device__ bool group_kept(const route_config& c, gate_memory& m, int e) {
  const int size = c.experts / c.groups, group = e / size;
  if (size == 32) {
    float best, second;
    best_of_warp(m.choice[e], best, second);
    if (e % 32 == 0) m.best[group] = best, m.second[group] = second;
  } else if (e < c.experts) {
    const int rank = beaten_by(m.choice + group * size, size, e % size);
    if (rank == 0) m.best[group] = m.choice[e];
    if (rank == 1) m.second[group] = m.choice[e];
  }
  __syncthreads();
  if (e < c.groups) m.group[e] = m.best[e] + (c.pair_scores ? m.second[e] : 0.0f);
  __syncthreads();
  return e < c.experts && beaten_by(m.group, c.groups, group) < c.groups_kept;
}

template <bool Softmax>
__global__ void __launch_bounds__(threads) gate_kernel(const gate_permute_args args) {
  __shared__ gate_memory m;
  const auto& c = args.route;
  const int e = threadIdx.x, token = blockIdx.x, choices = c.top_k + args.shared;
  const float bias = args.bias && e < c.experts ? args.bias[e] : 0.0f; // a weight: older than any kernel
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const float logit = e < c.experts ? args.logits[std::size_t(token) * c.experts + e] : -INFINITY;
  const float score = score_of<Softmax>(c, m, logit);
  m.choice[e] = e < c.experts ? score + bias : -INFINITY;
  m.second[e] = -INFINITY; // a group of one
  __syncthreads();
  const bool kept = c.limited ? group_kept(c, m, e) : e < c.experts;
  if (!kept) m.choice[e] = -INFINITY;
  const bool live = __any_sync(~0u, kept);
  if (e % 32 == 0) m.live[e / 32] = live;
  __syncthreads();
  const bool mine = live && e < c.experts && beaten_among_all(m, c.experts, m.choice[e]) < c.top_k;
  const unsigned votes = __ballot_sync(~0u, mine);
  if (e % 32 == 0) m.votes[e / 32] = votes;
  __syncthreads();
  int place = __popc(votes & ((1u << (e % 32)) - 1));
  for (int w = 0; w < e / 32; ++w) place += __popc(m.votes[w]);
  if (mine && place < c.top_k) m.weight[place] = score; // NaN logits may be chosen beyond top_k
  __syncthreads();
  if (!mine || place >= c.top_k) return;
  float sum = 1e-20f;
  for (int j = 0; j < c.top_k; ++j) sum += m.weight[j];
  args.chosen[std::size_t(token) * c.top_k + place] = e;
  args.weights[std::size_t(token) * choices + place] = (c.normalise ? score / sum : score) * c.scaling;
}

struct permute_memory {
  alignas(8) std::uint64_t loaded;
  int count[route_top_k_max];             // of earlier tokens with the same choice
  std::int8_t place_of[gate_experts_max]; // of an expert among this token's choices, or -1
  int expert[route_top_k_max];
  int slot[route_top_k_max + 1];
  float scale[gate_experts_max]; // of each 128 channels
};

/// Half a warp per 128 channels, eight a lane. The loop stays rolled: cold instructions cost more than they save.
__device__ void quantise_row(const uint4* x, int hidden, std::uint8_t* q, permute_memory& m) {
#pragma unroll 1
  for (int i = threadIdx.x; i < hidden / 8; i += threads) { // whole groups of 16 lanes stay or leave together
    const uint4 packed = x[i];
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&packed);
    const unsigned half_warp = 0xFFFFu << (threadIdx.x & 16);
    __nv_bfloat162 peaks =
        __hmax2(__hmax2(__habs2(pairs[0]), __habs2(pairs[1])), __hmax2(__habs2(pairs[2]), __habs2(pairs[3])));
#pragma unroll
    for (int d = 8; d; d /= 2) peaks = __hmax2(peaks, __shfl_xor_sync(half_warp, peaks, d));
    const float2 peak = __bfloat1622float2(peaks);
    const float scale = scale_of(fmaxf(peak.x, peak.y));
    const float inverse = ptx::reciprocal_approx(scale);
    __nv_fp8x4_e4m3 out[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 low = __bfloat1622float2(pairs[2 * h]), high = __bfloat1622float2(pairs[2 * h + 1]);
      out[h] = __nv_fp8x4_e4m3(make_float4(divide(low.x, scale, inverse), divide(low.y, scale, inverse),
                                           divide(high.x, scale, inverse), divide(high.y, scale, inverse)));
    }
    reinterpret_cast<uint2*>(q)[i] = reinterpret_cast<const uint2&>(out);
    if (threadIdx.x % 16 == 0) m.scale[i / 16] = scale;
  }
}

/// Rows of every expert, by the CTA after the last token's.
__device__ void count_rows(const gate_permute_args& args) {
  __shared__ int rows[gate_experts_max];
  rows[threadIdx.x] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < args.tokens * args.route.top_k; i += threads) atomicAdd(&rows[args.chosen[i]], 1);
  __syncthreads();
  if (int(threadIdx.x) < args.route.experts) args.rows[threadIdx.x] = rows[threadIdx.x];
  if (args.shared && threadIdx.x == 0) args.rows[args.route.experts] = args.tokens;
}

__global__ void __launch_bounds__(threads)
    permute_kernel(const ffn_shape shape, const gate_permute_args args, const ffn_workspace ws) {
  extern __shared__ __align__(16) std::uint8_t q[]; // the row, quantised; then as it came
  __shared__ permute_memory m;
  const int token = blockIdx.x, top_k = args.route.top_k, choices = top_k + args.shared, hidden = shape.hidden;
  auto* x = reinterpret_cast<uint4*>(q + hidden);
  if (token < args.tokens && threadIdx.x == 0) { // x is older than the gate's input: the gate waited for both
    ptx::mbarrier_init(&m.loaded, 1);
    ptx::fence_barrier_init();
    ptx::mbarrier_expect_bytes(&m.loaded, 2 * hidden);
    ptx::copy_line(x, args.x + std::size_t(token) * hidden, 2 * hidden, &m.loaded);
  }
  if (threadIdx.x < route_top_k_max) m.count[threadIdx.x] = 0;
  m.place_of[threadIdx.x] = -1;
  __syncthreads();
  if (token < args.tokens) {
    ptx::mbarrier_wait(&m.loaded, 0);
    quantise_row(x, hidden, q, m);
    ptx::fence_async_proxy(); // the copy engine will read the row
  }
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  if (token == args.tokens) return count_rows(args);
  if (const int j = threadIdx.x; j < top_k) {
    const int expert = args.chosen[token * top_k + j];
    m.expert[j] = expert, m.place_of[expert] = static_cast<std::int8_t>(j);
  }
  __syncthreads();
#pragma unroll 4
  for (int i = threadIdx.x; i < token * top_k; i += threads)
    if (const int j = m.place_of[args.chosen[i]]; j >= 0) atomicAdd(&m.count[j], 1);
  __syncthreads();
  if (const int j = threadIdx.x; j < choices) {
    const int slot =
        j < top_k ? m.expert[j] * shape.rows_max + m.count[j] : args.route.experts * shape.rows_max + token;
    m.slot[j] = slot;
    ptx::store_line(ws.inputs + std::size_t(slot) * hidden, q, hidden);
    args.token_of[slot] = token;
    args.slot_of[token * choices + j] = slot;
    if (j == top_k) args.weights[token * choices + j] = 1.0f;
  }
  __syncthreads();
  const int groups = hidden / 128;
  for (int j = threadIdx.x / 32; j < choices; j += threads / 32) {
    const int expert = j < top_k ? m.expert[j] : args.route.experts, slot = m.slot[j] - expert * shape.rows_max;
    float* to = ws.input_scales + std::size_t(expert) * groups * shape.rows_max + slot;
#pragma unroll 1
    for (int g = threadIdx.x % 32; g < groups; g += 32) to[std::size_t(g) * shape.rows_max] = m.scale[g];
  }
  if (int(threadIdx.x) < choices) ptx::wait_stored();
}

} // namespace

cudaError_t gate_rows(const gate_permute_args& args, cudaStream_t stream) {
  const auto& c = args.route;
  if (c.experts < 1 || c.experts > gate_experts_max || c.groups < 1 || c.experts % c.groups ||
      c.groups_kept > c.groups || c.top_k < 1 || c.top_k > route_top_k_max || c.top_k > c.experts ||
      (c.limited && c.groups_kept * (c.experts / c.groups) < c.top_k))
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(c.softmax ? gate_kernel<true> : gate_kernel<false>, {dim3(args.tokens), threads}, stream,
                          args);
}

cudaError_t permute_quantise(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                             cudaStream_t stream) {
  if (shape.hidden % 128 || shape.hidden > gate_hidden_max || shape.experts != args.route.experts + args.shared ||
      args.tokens > gate_tokens_max || shape.rows_max < args.tokens)
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaMemsetAsync(args.rows, 0, shape.experts * sizeof(int), stream);
  return launch_dependent(permute_kernel, {dim3(args.tokens + 1), threads, 3 * shape.hidden}, stream, shape, args, ws);
}

cudaError_t gate_permute_quantise(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                                  cudaStream_t stream) {
  if (const auto e = gate_rows(args, stream)) return e;
  return permute_quantise(shape, args, ws, stream);
}

} // namespace troupe::cuda
