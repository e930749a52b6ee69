// Math      s = sigmoid(l) or softmax(l);  b = s + bias;  a group scores its two best b, or its best;  top_k of b in
//           the kept groups;  w = s (/ sum) * scaling;  slot = number of earlier tokens with the same choice;
//           FP8: q = e4m3(x / scale), scale = max(max|x|, 1e-4) / 448 per row and 128 channels
// Shapes    l [tokens, experts] fp32, x [tokens, H] bf16, inputs [experts, rows_max, H] e4m3 with
//           scales [experts, H/128, rows_max], or bf16
// Roofline  256 tokens, 8 choices and the shared expert, H = 7168: 3.7 MB in, 16.5 MB out: 4.4 us at 4.5 TB/s; an empty
//           kernel takes 2.5 us, so that 8 us are out of reach for 256 tokens while rows are copied to their slots
// Mapping   gate: one warp a token, eight experts a lane, the best of a warp k times.  permute: one CTA a token, which
//           quantises its row into shared memory while the gate still runs, counts the choices before its own and
//           bulk-copies the row to its slots; one more counts rows
// Invariant all counts are integers: slots, weights and bytes are the same in every run
// Measured  H200, L2-cold, graph replay, shared expert included, 1, 64, 128, 256 tokens: 10.7, 11.4, 13.6, 18.4 us on a
//           machine whose empty kernel takes 4.3 us; alone gate 7.5-8.2, permute 8.6, 9.6, 11.7, 16.0. In the same run
//           10.6, 11.8, 14.7, 20.1 us with a CTA a token in the gate, one thread an expert, without batches of loads in
//           permute and with the shared expert's row after the gate. Of 256 tokens' time copies of rows are 6.5 us (2.5
//           TB/s of writes), scattered scales 1.5; L2-warm the same within 0.3
// Rejected  both in one kernel, gate beside quantising, CTAs meeting at a counter: 11.1, 11.9, 14.6, 19.6 us where two
//           take 10.9, 11.6, 14.1, 18.3; rolled loops in the gate: + 1.3 us; 16-byte stores of the rows instead of bulk
//           copies: the same; unrolled IEEE divisions: 10 KB of cold code; kernels that divide L1 differently: + 17 us
//           at 128 tokens, every multiprocessor must run empty in between
// Source    model-spec.md sections 7.2, 7.3 and 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/quantise.cuh"
#include "kernels/cuda/gate_permute.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <climits>

namespace troupe::cuda {
namespace {

constexpr int threads = 256;
static_assert(threads == gate_experts_max, "one thread an expert");

constexpr int per_lane = gate_experts_max / 32; // expert 32 j + lane is element j of a lane

struct gate_memory {
  float choice[gate_experts_max + gate_experts_max / 32]; // b; padded, so that lanes may walk groups of 32
  float group[gate_experts_max];
  int chosen[route_top_k_max];
  float weight[route_top_k_max];
};

__device__ int padded(int e) { return e + e / 32; }

/// Floats as integers of the same order.
__device__ int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : bits ^ 0x7FFFFFFF;
}

__device__ float sum_of_warp(float x) {
#pragma unroll
  for (int d = 16; d; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}

/// Logits, -inf where there is no expert, become scores.
template <bool Softmax>
__device__ void score(float (&s)[per_lane]) {
  if constexpr (Softmax) {
    float peak = s[0], sum = 0;
#pragma unroll
    for (int j = 1; j < per_lane; ++j) peak = fmaxf(peak, s[j]);
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
#pragma unroll
    for (int j = 0; j < per_lane; ++j) sum += s[j] = expf(s[j] - peak);
    sum = sum_of_warp(sum);
#pragma unroll
    for (int j = 0; j < per_lane; ++j) s[j] /= sum;
  } else {
#pragma unroll
    for (int j = 0; j < per_lane; ++j) {
      const float y = 1.0f + expf(s[j] < -88.0f ? 88.0f : -s[j]); // finite, unless the logit is not a number
      s[j] = divide(1.0f, y, ptx::reciprocal_approx(y));
    }
  }
}

/// Experts outside the kept groups get -inf. A lane walks a group.
__device__ void keep_groups(const route_config& c, gate_memory& m, float (&choice)[per_lane]) {
  const int lane = threadIdx.x, size = c.experts / c.groups;
#pragma unroll
  for (int j = 0; j < per_lane; ++j) m.choice[padded(32 * j + lane)] = choice[j];
  __syncwarp();
  for (int g = lane; g < c.groups; g += 32) {
    float best = -INFINITY, second = -INFINITY;
#pragma unroll 4
    for (int i = g * size; i < (g + 1) * size; ++i) {
      const float v = m.choice[padded(i)];
      second = fmaxf(second, fminf(best, v)), best = fmaxf(best, v);
    }
    m.group[g] = best + (c.pair_scores ? second : 0.0f);
  }
  __syncwarp();
  for (int g = lane; g < c.groups; g += 32) {
    const float mine = m.group[g];
    int better = 0;
#pragma unroll 4
    for (int other = 0; other < c.groups; ++other)
      better += m.group[other] > mine || (m.group[other] == mine && other < g);
    if (better >= c.groups_kept)
      for (int i = g * size; i < (g + 1) * size; ++i) m.choice[padded(i)] = -INFINITY;
  }
  __syncwarp();
#pragma unroll
  for (int j = 0; j < per_lane; ++j) choice[j] = m.choice[padded(32 * j + lane)];
}

/// The top_k largest, the lowest index among equals: bit j of a lane's result says that its element j is one of them.
__device__ unsigned choose(const route_config& c, const float (&choice)[per_lane]) {
  const int lane = threadIdx.x;
  int key[per_lane];
  unsigned open = 0, chosen = 0;
#pragma unroll
  for (int j = 0; j < per_lane; ++j) {
    key[j] = ordered(choice[j]);
    open |= unsigned(32 * j + lane < c.experts) << j;
  }
  for (int k = 0; k < c.top_k; ++k) {
    int best = INT_MIN, expert = INT_MAX;
#pragma unroll
    for (int j = 0; j < per_lane; ++j) best = max(best, open >> j & 1 ? key[j] : INT_MIN);
    best = __reduce_max_sync(~0u, best);
#pragma unroll
    for (int j = per_lane - 1; j >= 0; --j)
      if (open >> j & 1 && key[j] == best) expert = 32 * j + lane;
    expert = __reduce_min_sync(~0u, expert);
    const unsigned bit = expert % 32 == lane ? 1u << expert / 32 : 0;
    open &= ~bit, chosen |= bit;
  }
  return chosen;
}

/// A warp a token.
template <bool Softmax>
__global__ void __launch_bounds__(32) gate_kernel(const gate_permute_args args) {
  __shared__ gate_memory m;
  const auto& c = args.route;
  const int lane = threadIdx.x, token = blockIdx.x;
  float scores[per_lane], choice[per_lane];
#pragma unroll
  for (int j = 0; j < per_lane; ++j) // a weight: older than any kernel
    choice[j] = args.bias && 32 * j + lane < c.experts ? args.bias[32 * j + lane] : 0.0f;
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
#pragma unroll
  for (int j = 0; j < per_lane; ++j) {
    const int e = 32 * j + lane;
    scores[j] = e < c.experts ? args.logits[std::size_t(token) * c.experts + e] : -INFINITY;
  }
  score<Softmax>(scores);
#pragma unroll
  for (int j = 0; j < per_lane; ++j) choice[j] += scores[j];
  if (c.limited) keep_groups(c, m, choice);
  const unsigned chosen = choose(c, choice);
  int place = 0;
#pragma unroll
  for (int j = 0; j < per_lane; ++j) {
    const unsigned votes = __ballot_sync(~0u, chosen >> j & 1);
    if (chosen >> j & 1) {
      const int p = place + __popc(votes & ((1u << lane) - 1));
      m.chosen[p] = 32 * j + lane, m.weight[p] = scores[j];
    }
    place += __popc(votes);
  }
  __syncwarp();
  if (lane >= c.top_k) return;
  float sum = 1e-20f;
  for (int j = 0; j < c.top_k; ++j) sum += m.weight[j];
  args.chosen[std::size_t(token) * c.top_k + lane] = m.chosen[lane];
  args.weights[std::size_t(token) * (c.top_k + args.shared) + lane] =
      (c.normalise ? m.weight[lane] / sum : m.weight[lane]) * c.scaling;
}

struct permute_memory {
  alignas(8) std::uint64_t loaded;
  int count[route_top_k_max];             // of earlier tokens with the same choice
  std::int8_t place_of[gate_experts_max]; // of an expert among this token's choices, or -1
  int expert[route_top_k_max];
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

/// Chosen experts `first` + threads * u + this thread's, -1 behind the last: loads that share one memory latency. They
/// must not stand among atomics, which they cannot pass.
constexpr int batch = 8;
__device__ void load_chosen(const int* chosen, int first, int count, int (&expert)[batch]) {
#pragma unroll
  for (int u = 0; u < batch; ++u) {
    const int i = first + u * threads + int(threadIdx.x);
    expert[u] = i < count ? chosen[i] : -1;
  }
}

/// Rows of every expert, by the CTA after the last token's.
__device__ void count_rows(const gate_permute_args& args) {
  __shared__ int rows[gate_experts_max];
  rows[threadIdx.x] = 0;
  __syncthreads();
  const int count = args.tokens * args.route.top_k;
  for (int first = 0; first < count; first += batch * threads) {
    int expert[batch];
    load_chosen(args.chosen, first, count, expert);
#pragma unroll
    for (int u = 0; u < batch; ++u)
      if (expert[u] >= 0) atomicAdd(&rows[expert[u]], 1);
  }
  __syncthreads();
  if (int(threadIdx.x) < args.route.experts) args.rows[threadIdx.x] = rows[threadIdx.x];
  if (args.shared && threadIdx.x == 0) args.rows[args.route.experts] = args.tokens;
}

/// Fills m.expert with the token's choices and m.count with the earlier tokens of the same choice.
__device__ void count_earlier(const gate_permute_args& args, int token, permute_memory& m) {
  const int top_k = args.route.top_k, count = token * top_k;
  const bool chooses = int(threadIdx.x) < top_k;
  const int own = chooses ? args.chosen[count + threadIdx.x] : 0;
  int expert[batch];
  load_chosen(args.chosen, 0, count, expert);
  if (chooses) m.expert[threadIdx.x] = own, m.place_of[own] = static_cast<std::int8_t>(threadIdx.x);
  __syncthreads();
  for (int first = 0;;) {
#pragma unroll
    for (int u = 0; u < batch; ++u)
      if (expert[u] >= 0)
        if (const int j = m.place_of[expert[u]]; j >= 0) atomicAdd(&m.count[j], 1);
    if ((first += batch * threads) >= count) break;
    load_chosen(args.chosen, first, count, expert);
  }
  __syncthreads();
}

/// A warp writes the row and, FP8, its scales to a slot of an expert.
template <bool Fp8>
__device__ void store_row(const ffn_shape& shape, const ffn_workspace& ws, const std::uint8_t* row, const float* scales,
                          int expert, int slot) {
  const int lane = threadIdx.x % 32, groups = shape.hidden / 128, row_bytes = shape.hidden * (Fp8 ? 1 : 2);
  if (lane == 0) {
    auto* inputs = static_cast<std::uint8_t*>(ws.inputs);
    ptx::store_line(inputs + (std::size_t(expert) * shape.rows_max + slot) * row_bytes, row, row_bytes);
  }
  if constexpr (Fp8) {
    float* to = ws.input_scales + std::size_t(expert) * groups * shape.rows_max + slot;
#pragma unroll 1
    for (int g = lane; g < groups; g += 32) to[std::size_t(g) * shape.rows_max] = scales[g];
  }
}

template <bool Fp8>
__global__ void __launch_bounds__(threads)
    permute_kernel(const ffn_shape shape, const gate_permute_args args, const ffn_workspace ws) {
  extern __shared__ __align__(16) std::uint8_t row[]; // as experts read it; FP8: then as it came
  __shared__ permute_memory m;
  const int token = blockIdx.x, top_k = args.route.top_k, choices = top_k + args.shared, warp = threadIdx.x / 32;
  auto* x = reinterpret_cast<uint4*>(row + (Fp8 ? shape.hidden : 0));
  if (token < args.tokens && threadIdx.x == 0) { // x is older than the gate's input: the gate waited for both
    ptx::mbarrier_init(&m.loaded, 1);
    ptx::fence_barrier_init();
    ptx::mbarrier_expect_bytes(&m.loaded, 2 * shape.hidden);
    ptx::copy_line(x, args.x + std::size_t(token) * shape.hidden, 2 * shape.hidden, &m.loaded);
  }
  if (threadIdx.x < route_top_k_max) m.count[threadIdx.x] = 0;
  m.place_of[threadIdx.x] = -1;
  __syncthreads();
  if (token < args.tokens) {
    ptx::mbarrier_wait(&m.loaded, 0);
    if constexpr (Fp8) {
      quantise_row(x, shape.hidden, row, m);
      ptx::fence_async_proxy(); // the copy engine will read the row
    }
    __syncthreads();
    // Its slot is known, and who read it last is older than the gate.
    if (args.shared && warp == 0) store_row<Fp8>(shape, ws, row, m.scale, args.route.experts, token);
  }
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  if (token == args.tokens) return count_rows(args);
  count_earlier(args, token, m);
  for (int j = warp; j < choices; j += threads / 32) {
    const bool shared = j == top_k;
    const int expert = shared ? args.route.experts : m.expert[j], slot = shared ? token : m.count[j];
    if (!shared) store_row<Fp8>(shape, ws, row, m.scale, expert, slot);
    if (threadIdx.x % 32 != 0) continue;
    args.token_of[expert * shape.rows_max + slot] = token;
    args.slot_of[token * choices + j] = expert * shape.rows_max + slot;
    if (shared) args.weights[token * choices + j] = 1.0f;
  }
  if (threadIdx.x % 32 == 0) ptx::wait_stored();
}

} // namespace

cudaError_t gate_rows(const gate_permute_args& args, cudaStream_t stream) {
  const auto& c = args.route;
  if (c.experts < 1 || c.experts > gate_experts_max || c.groups < 1 || c.experts % c.groups ||
      c.groups_kept > c.groups || c.top_k < 1 || c.top_k > route_top_k_max || c.top_k > c.experts ||
      (c.limited && c.groups_kept * (c.experts / c.groups) < c.top_k))
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(c.softmax ? gate_kernel<true> : gate_kernel<false>, {dim3(args.tokens), 32}, stream, args);
}

cudaError_t permute_rows(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream) {
  if (shape.hidden % 128 || shape.hidden > gate_hidden_max || shape.experts != args.route.experts + args.shared ||
      args.tokens > gate_tokens_max || shape.rows_max < args.tokens)
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaMemsetAsync(args.rows, 0, shape.experts * sizeof(int), stream);
  const bool fp8 = ws.input_scales;
  return launch_dependent(fp8 ? permute_kernel<true> : permute_kernel<false>,
                          {dim3(args.tokens + 1), threads, (fp8 ? 3 : 2) * shape.hidden}, stream, shape, args, ws);
}

cudaError_t gate_permute(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream) {
  if (const auto e = gate_rows(args, stream)) return e;
  return permute_rows(shape, args, ws, stream);
}

} // namespace troupe::cuda
