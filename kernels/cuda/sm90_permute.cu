// Math      slot = number of earlier tokens with the same choice;  FP8: q = e4m3(x / scale), with
//           scale = max(max|x|, 1e-4) / 448 per row and 128 channels
// Shapes    x [tokens, H] bf16, inputs [experts, rows_max, H] e4m3 with scales [experts, H/128, rows_max], or bf16
// Roofline  FP8, 256 tokens, 8 choices and the shared expert, H = 7168: 3.7 MB in, 16.5 MB out: 4.4 us at 4.5 TB/s;
//           two empty kernels take 4.9 us, so that 8 us are out of reach for 256 tokens while rows are copied to their
//           slots
// Mapping   one CTA a token, which takes (FP8: quantises) its row into shared memory while the gate still runs, counts
//           the choices before its own and bulk-copies the row to its slots; one more counts rows
// Invariant all counts are integers: slots and bytes are the same in every run
// Measured  FP8 on one H200, L2-cold, graph replay, gate and shared expert included, 1, 64, 128, 256 tokens: 9.2, 9.7,
//           11.3, 14.9 us where two dependent empty kernels take 4.9. By clock stamps, 1 token: ready for the choice
//           2.8 us after the gate's start, slots known 3.2, rows stored 4.7; 256 tokens: 3.7-5.4, 4.8-8.2, 10.2. Stores
//           of these 16.5 MB alone take 4.6 us, of scattered scales alone 2.4
// Rejected  the row by way of shared memory, 256 threads, code that is new after the gate: + 0.3 us at 1 token, + 1.1
//           at 128, + 2.6 at 256.  One kernel with the gate, CTAs meeting at a counter: + 0.5 to 1 us.  16-byte stores
//           of the rows instead of bulk copies, copies of 1 KB, eviction hints: the same.  Kernels that divide L1
//           differently: + 17 us at 128 tokens, every multiprocessor must run empty in between
// Source    model-spec.md sections 7.3 and 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/quantise.cuh"
#include "kernels/cuda/gate_permute.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int threads = 448; // R1's rows are two loads a thread
static_assert(threads >= gate_experts_max && threads % 32 == 0, "one thread an expert");

struct permute_memory {
  int count[route_top_k_max];             // of earlier tokens with the same choice
  std::int8_t place_of[gate_experts_max]; // of an expert among this token's choices, or -1
  int expert[route_top_k_max];
  float scale[gate_experts_max]; // of each 128 channels
};

/// Half a warp per 128 channels, eight a lane, two loads in flight.
__device__ void quantise_row(const uint4* x, int hidden, std::uint8_t* q, permute_memory& m) {
#pragma unroll 1
  for (int first = threadIdx.x; first < hidden / 8; first += 2 * threads) {
    uint4 packed[2];
#pragma unroll
    for (int u = 0; u < 2; ++u)
      if (first + u * threads < hidden / 8) packed[u] = __ldcg(x + first + u * threads); // past L1
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      const int i = first + u * threads;
      if (i >= hidden / 8) break; // whole groups of 16 lanes stay or leave together
      const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&packed[u]);
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
}

/// As it came.
__device__ void copy_row(const uint4* x, int hidden, uint4* to) {
#pragma unroll 4
  for (int i = threadIdx.x; i < hidden / 8; i += threads) to[i] = __ldcg(x + i);
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
  if (threadIdx.x < gate_experts_max) rows[threadIdx.x] = 0;
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

/// Fills m.expert with the `own` choices behind the first `count`, and m.count with the same ones among these.
__device__ void count_earlier(const int* chosen, int count, int own, permute_memory& m) {
  const bool chooses = int(threadIdx.x) < own;
  const int mine = chooses ? chosen[count + threadIdx.x] : 0;
  int expert[batch];
  load_chosen(chosen, 0, count, expert);
  if (chooses) m.expert[threadIdx.x] = mine, m.place_of[mine] = static_cast<std::int8_t>(threadIdx.x);
  __syncthreads();
  for (int first = 0;;) {
#pragma unroll
    for (int u = 0; u < batch; ++u)
      if (expert[u] >= 0)
        if (const int j = m.place_of[expert[u]]; j >= 0) atomicAdd(&m.count[j], 1);
    if ((first += batch * threads) >= count) break;
    load_chosen(chosen, first, count, expert);
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
  extern __shared__ __align__(16) std::uint8_t row[]; // as experts read it
  __shared__ permute_memory m;
  const int token = blockIdx.x, top_k = args.route.top_k, choices = top_k + args.shared, warp = threadIdx.x / 32;
  if (token == args.tokens) {
    ptx::grid_dependency_wait();
    ptx::grid_launch_dependents();
    return count_rows(args);
  }
  if (threadIdx.x < route_top_k_max) m.count[threadIdx.x] = 0;
  if (threadIdx.x < gate_experts_max) m.place_of[threadIdx.x] = -1;
  // x is older than the gate's input: the gate waited for both.
  const auto* x = reinterpret_cast<const uint4*>(args.x + std::size_t(token) * shape.hidden);
  if constexpr (Fp8)
    quantise_row(x, shape.hidden, row, m);
  else
    copy_row(x, shape.hidden, reinterpret_cast<uint4*>(row));
  ptx::fence_async_proxy(); // the copy engine will read the row
  __syncthreads();
  // While the gate still runs, a first pass serves the shared expert, whose slot is known (who read it last is older
  // than the gate), and fetches the instructions that the choices will need.
#pragma unroll 1
  for (int pass = 0; pass < 2; ++pass) {
    const int first = pass == 0 ? top_k : 0, last = pass == 0 ? choices : top_k;
    if (pass == 1) {
      ptx::grid_dependency_wait();
      ptx::grid_launch_dependents();
    }
    count_earlier(args.chosen, pass * token * top_k, pass * top_k, m);
    for (int j = first + warp; j < last; j += threads / 32) {
      const bool shared = j == top_k;
      const int expert = shared ? args.route.experts : m.expert[j], slot = shared ? token : m.count[j];
      store_row<Fp8>(shape, ws, row, m.scale, expert, slot);
      if (threadIdx.x % 32 != 0) continue;
      args.token_of[expert * shape.rows_max + slot] = token;
      args.slot_of[token * choices + j] = expert * shape.rows_max + slot;
      if (shared) args.weights[token * choices + j] = 1.0f;
    }
  }
  if (threadIdx.x % 32 == 0) ptx::wait_stored();
}

} // namespace

cudaError_t permute_rows(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream) {
  if (shape.hidden % 128 || shape.hidden > gate_hidden_max || shape.experts != args.route.experts + args.shared ||
      args.tokens > gate_tokens_max || shape.rows_max < args.tokens)
    return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaMemsetAsync(args.rows, 0, shape.experts * sizeof(int), stream);
  const bool fp8 = ws.input_scales;
  return launch_dependent(fp8 ? permute_kernel<true> : permute_kernel<false>,
                          {dim3(args.tokens + 1), threads, (fp8 ? 1 : 2) * shape.hidden}, stream, shape, args, ws);
}

cudaError_t gate_permute(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream) {
  if (const auto e = gate_rows(args, stream)) return e;
  return permute_rows(shape, args, ws, stream);
}

} // namespace troupe::cuda
