// Math      y = w x / sqrt(mean(x²) + eps);  h = silu(g) u;  x += own + sum_j w_j routed[slot_j], j ascending
// Shapes    x [tokens, hidden] f32, y bf16; see rows.hpp
// Roofline  a row of H=7168: 28 KB in, 14 KB out; 64 rows are 3 MB: below 1 us at 4.5 TB/s, so launch-bound
// Mapping   one CTA a row (norm) or 4 values a thread
// Invariant sums of squares go through one tree that depends on the width only
// Source    model-spec.md sections 4 and 7
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/rows.hpp"

#include <cuda_bf16.h>

#include <climits>

namespace troupe::cuda {
namespace {

constexpr int norm_threads = 512;
constexpr int norm_kept = 4; // of four values each: rows of 8192 stay in registers

constexpr int argmax_threads = 1024;

/// What every kernel here starts with: its input is the result of the kernel before it.
__device__ void begin() {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
}

__device__ uint2 load_packed(const std::uint16_t* from) { return *reinterpret_cast<const uint2*>(from); }
__device__ float4 widen(uint2 packed) {
  const float2 low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(packed.x));
  const float2 high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(packed.y));
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ float4 load_bf16(const std::uint16_t* from) { return widen(load_packed(from)); }

__device__ void store_bf16(std::uint16_t* to, float4 v) {
  const __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w)};
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(pair);
}

__global__ void embed_kernel(const std::uint16_t* table, const int* ids, int hidden, float* x) {
  begin();
  const int token = blockIdx.x;
  const auto* from = table + std::size_t(ids[token]) * hidden;
  for (int i = threadIdx.x * 4; i < hidden; i += blockDim.x * 4)
    *reinterpret_cast<float4*>(x + std::size_t(token) * hidden + i) = load_bf16(from + i);
}

__device__ float sum_of_cta(float value) {
  __shared__ float of_warp[norm_threads / 32];
#pragma unroll
  for (int d = 16; d; d /= 2) value += __shfl_xor_sync(~0u, value, d);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < norm_threads / 32; ++w) sum += of_warp[w];
  return sum;
}

__global__ void __launch_bounds__(norm_threads) rmsnorm_kernel(const rmsnorm_args args) {
  const auto place = [](int j) { return (j * norm_threads + int(threadIdx.x)) * 4; };
  constexpr int first_left = norm_kept * norm_threads * 4;
  float4 weight[norm_kept], kept[norm_kept]; // rows are read once, unless they are very long
#pragma unroll
  for (int j = 0; j < norm_kept; ++j)
    if (place(j) < args.width) weight[j] = *reinterpret_cast<const float4*>(args.weight + place(j));
  begin(); // weights are older than any kernel
  const std::size_t token = blockIdx.x;
  const float* x = args.x + (args.row_of ? args.row_of[token] : std::int64_t(token)) * args.x_pitch;
  float squares = 0;
  const auto add_squares = [&](float4 v) { squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; };
#pragma unroll
  for (int j = 0; j < norm_kept; ++j) {
    kept[j] = place(j) < args.width ? *reinterpret_cast<const float4*>(x + place(j)) : float4{};
    add_squares(kept[j]);
  }
  for (int i = first_left + place(0); i < args.width; i += norm_threads * 4)
    add_squares(*reinterpret_cast<const float4*>(x + i));
  const float factor = 1.0f / sqrtf(sum_of_cta(squares) / float(args.width) + args.eps);

  const auto finish = [&](int i, float4 w, float4 v) {
    v = make_float4(w.x * (v.x * factor), w.y * (v.y * factor), w.z * (v.z * factor), w.w * (v.w * factor));
    if (args.y_f32) *reinterpret_cast<float4*>(args.y_f32 + token * args.width + i) = v;
    if (args.y) store_bf16(args.y + token * args.y_pitch + i, v);
  };
#pragma unroll
  for (int j = 0; j < norm_kept; ++j)
    if (place(j) < args.width) finish(place(j), weight[j], kept[j]);
  for (int i = first_left + place(0); i < args.width; i += norm_threads * 4)
    finish(i, *reinterpret_cast<const float4*>(args.weight + i), *reinterpret_cast<const float4*>(x + i));
}

__global__ void swiglu_kernel(const float* gate_up, const int* group_tokens, int pitch, int width, std::uint16_t* h) {
  begin();
  const int group = blockIdx.z, token = blockIdx.y, i = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (i >= width || (group_tokens && token >= group_tokens[group])) return;
  const std::size_t row = std::size_t(group) * pitch + token;
  const float4 g = *reinterpret_cast<const float4*>(gate_up + row * 2 * width + i);
  const float4 u = *reinterpret_cast<const float4*>(gate_up + row * 2 * width + width + i);
  const auto silu = [](float a) { return a / (1.0f + __expf(-a)); };
  store_bf16(h + row * width + i, make_float4(silu(g.x) * u.x, silu(g.y) * u.y, silu(g.z) * u.z, silu(g.w) * u.w));
}

__device__ void add_product(float4& sum, float weight, float4 v) {
  sum.x = __fadd_rn(sum.x, __fmul_rn(weight, v.x));
  sum.y = __fadd_rn(sum.y, __fmul_rn(weight, v.y));
  sum.z = __fadd_rn(sum.z, __fmul_rn(weight, v.z));
  sum.w = __fadd_rn(sum.w, __fmul_rn(weight, v.w));
}
__device__ float4 operator+(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

__global__ void add_ffn_kernel(const add_ffn_args args) {
  begin();
  const std::size_t token = blockIdx.y;
  const int i = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (i >= args.hidden) return;
  float4 out = {};
  if (args.own) out = load_bf16(args.own + token * args.hidden + i);
  if (args.routed) {
    float4 sum = {};
    for (int j = 0; j < args.experts_per_token; ++j) {
      const std::size_t choice = token * args.experts_per_token + j;
      add_product(sum, args.weights[choice],
                  load_bf16(args.routed + std::size_t(args.slot_of[choice]) * args.hidden + i));
    }
    out = out + sum;
  }
  auto& x = *reinterpret_cast<float4*>(args.x + token * args.hidden + i);
  x = x + out;
}

__global__ void add_chosen_kernel(const add_chosen_args args) {
  constexpr int at_once = 8; // another GPU's memory is far: all of R1's choices are on their way together
  begin();
  const std::size_t token = blockIdx.y;
  const int i = (blockIdx.x * blockDim.x + threadIdx.x) * 4, top_k = args.experts_per_token;
  if (i >= args.hidden) return;
  float4 sum = {};
  for (int first = 0; first < top_k; first += at_once) {
    uint2 output[at_once];
#pragma unroll
    for (int j = 0; j < at_once; ++j) {
      const std::size_t choice = token * top_k + first + j;
      if (first + j < top_k) output[j] = load_packed(args.outputs_of[args.chosen[choice]] + choice * args.hidden + i);
    }
#pragma unroll
    for (int j = 0; j < at_once; ++j)
      if (first + j < top_k) add_product(sum, args.weights[token * top_k + first + j], widen(output[j]));
  }
  float4 out = {};
  if (args.own) out = load_bf16(args.own + token * args.hidden + i);
  out = out + sum;
  auto& x = *reinterpret_cast<float4*>(args.x + token * args.hidden + i);
  x = x + out;
}

__global__ void copy_kernel(const copied_pieces pieces) {
  begin();
  const auto& p = pieces.piece[blockIdx.y];
  const std::int64_t words = p.bytes / 16, stride = std::int64_t(gridDim.x) * blockDim.x;
  const std::int64_t first = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  for (auto i = first; i < words; i += stride) static_cast<uint4*>(p.to)[i] = static_cast<const uint4*>(p.from)[i];
  for (auto i = words * 4 + first; i < p.bytes / 4; i += stride)
    static_cast<int*>(p.to)[i] = static_cast<const int*>(p.from)[i];
}

struct peak {
  float value = -INFINITY;
  int at = INT_MAX;
  __device__ void take(float other, int other_at) {
    if (other > value || (other == value && other_at < at)) value = other, at = other_at;
  }
};

__global__ void __launch_bounds__(argmax_threads) argmax_kernel(const float* x, int width, int count, int* ids) {
  __shared__ peak of_warp[argmax_threads / 32];
  begin();
  const float* row = x + std::size_t(blockIdx.x) * width;
  peak best;
  bool finite = true;
#pragma unroll 8
  for (int i = threadIdx.x; i < width; i += argmax_threads) {
    const float v = row[i];
    finite &= v < INFINITY; // false for NaN, too
    if (i < count && v > best.value) best.value = v, best.at = i;
  }
  finite = __syncthreads_and(finite);
  const auto reduce = [&] {
#pragma unroll
    for (int d = 16; d; d /= 2) best.take(__shfl_xor_sync(~0u, best.value, d), __shfl_xor_sync(~0u, best.at, d));
  };
  reduce();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = of_warp[threadIdx.x];
  reduce();
  if (threadIdx.x == 0) ids[blockIdx.x] = finite && best.at != INT_MAX ? best.at : -1;
}

__global__ void add_kernel(const float* y, std::int64_t count, float* x) {
  begin();
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] += y[i];
}

__global__ void widen_kernel(const std::uint16_t* x, std::int64_t count, float* y) {
  begin();
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(x)[i]);
}

__global__ void gather_kernel(const std::uint16_t* from, const int* row_of, int width, std::uint16_t* to) {
  begin();
  const std::size_t row = blockIdx.x;
  const auto* source = reinterpret_cast<const uint4*>(from + std::size_t(row_of[row]) * width);
  for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < width / 8; i += gridDim.y * blockDim.x)
    reinterpret_cast<uint4*>(to + row * width)[i] = source[i];
}

__global__ void gather_slots_kernel(const std::uint16_t* from, const int* token_of, const int* group_tokens, int pitch,
                                    int width, std::uint16_t* to) {
  begin();
  if (int(blockIdx.x) >= group_tokens[blockIdx.y]) return;
  const std::size_t slot = std::size_t(blockIdx.y) * pitch + blockIdx.x;
  const auto* source = reinterpret_cast<const uint4*>(from + std::size_t(token_of[slot]) * width);
  for (int i = threadIdx.x; i < width / 8; i += blockDim.x) reinterpret_cast<uint4*>(to + slot * width)[i] = source[i];
}

__global__ void scatter_chosen_kernel(const std::uint16_t* from, const int* chosen, const int* slot_of_expert,
                                      int experts, const int* slot_of, int width, std::uint16_t* to) {
  begin();
  const std::size_t choice = blockIdx.x;
  const auto expert = unsigned(chosen[choice]);
  if (expert >= unsigned(experts) || slot_of_expert[expert] < 0) return;
  const auto* source = reinterpret_cast<const uint4*>(from + std::size_t(slot_of[choice]) * width);
  for (int i = threadIdx.x; i < width / 8; i += blockDim.x)
    reinterpret_cast<uint4*>(to + choice * width)[i] = source[i];
}

constexpr int threads = 256;
int blocks_for(std::int64_t values) { return int((values + threads - 1) / threads); }

} // namespace

cudaError_t embed_rows(const std::uint16_t* table, const int* ids, int tokens, int hidden, float* x,
                       cudaStream_t stream) {
  if (hidden % 4) return cudaErrorInvalidValue;
  if (tokens == 0) return cudaSuccess;
  return launch_dependent(embed_kernel, {dim3(tokens), threads}, stream, table, ids, hidden, x);
}

cudaError_t rmsnorm(const rmsnorm_args& args, cudaStream_t stream) {
  if (args.width <= 0 || args.width % 4 || args.x_pitch % 4 || args.y_pitch % 4) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(rmsnorm_kernel, {dim3(args.tokens), norm_threads}, stream, args);
}

cudaError_t swiglu_rows(const float* gate_up, const int* group_tokens, int groups, int tokens, int pitch, int width,
                        std::uint16_t* h, cudaStream_t stream) {
  if (width % 4) return cudaErrorInvalidValue;
  if (tokens == 0 || groups == 0) return cudaSuccess;
  const dim3 grid(blocks_for(width / 4), tokens, groups);
  return launch_dependent(swiglu_kernel, {grid, threads}, stream, gate_up, group_tokens, pitch, width, h);
}

cudaError_t add_ffn_rows(const add_ffn_args& args, cudaStream_t stream) {
  if (args.hidden % 4) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(add_ffn_kernel, {dim3(blocks_for(args.hidden / 4), args.tokens), threads}, stream, args);
}

cudaError_t add_chosen_rows(const add_chosen_args& args, cudaStream_t stream) {
  if (args.hidden % 4) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  return launch_dependent(add_chosen_kernel, {dim3(blocks_for(args.hidden / 4), args.tokens), threads}, stream, args);
}

cudaError_t copy_pieces(const copied_pieces& pieces, cudaStream_t stream) {
  std::int64_t most = 0;
  for (const auto& p : pieces.piece) {
    if (p.bytes % 4) return cudaErrorInvalidValue;
    most = max(most, p.bytes);
  }
  if (most == 0) return cudaSuccess;
  int multiprocessor_count = 0;
  if (const auto e = multiprocessors(multiprocessor_count)) return e;
  const int blocks = min(blocks_for(most / 16 + 1), 2 * multiprocessor_count);
  return launch_dependent(copy_kernel, {dim3(blocks, 4), threads}, stream, pieces);
}

cudaError_t argmax_rows(const float* x, int tokens, int width, int count, int* ids, cudaStream_t stream) {
  if (width < 1 || count > width) return cudaErrorInvalidValue;
  if (tokens == 0) return cudaSuccess;
  return launch_dependent(argmax_kernel, {dim3(tokens), argmax_threads}, stream, x, width, count, ids);
}

cudaError_t add_rows(const float* y, std::int64_t count, float* x, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch_dependent(add_kernel, {dim3(blocks_for(count)), threads}, stream, y, count, x);
}

cudaError_t widen_rows(const std::uint16_t* x, std::int64_t count, float* y, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch_dependent(widen_kernel, {dim3(blocks_for(count)), threads}, stream, x, count, y);
}

cudaError_t gather_rows(const std::uint16_t* from, const int* row_of, int rows, int width, std::uint16_t* to,
                        cudaStream_t stream) {
  if (width % 8) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  const int parts = (width / 8 + 4 * threads - 1) / (4 * threads); // whole pages of latent cache are long rows
  return launch_dependent(gather_kernel, {dim3(rows, parts), threads}, stream, from, row_of, width, to);
}

cudaError_t gather_slots(const std::uint16_t* from, const int* token_of, const int* group_tokens, int groups, int pitch,
                         int width, std::uint16_t* to, cudaStream_t stream) {
  if (width % 8) return cudaErrorInvalidValue;
  if (groups == 0 || pitch == 0) return cudaSuccess;
  return launch_dependent(gather_slots_kernel, {dim3(pitch, groups), threads}, stream, from, token_of, group_tokens,
                          pitch, width, to);
}

cudaError_t scatter_chosen(const std::uint16_t* from, const int* chosen, const int* slot_of_expert, int experts,
                           const int* slot_of, int choices, int width, std::uint16_t* to, cudaStream_t stream) {
  if (width % 8) return cudaErrorInvalidValue;
  if (choices == 0) return cudaSuccess;
  return launch_dependent(scatter_chosen_kernel, {dim3(choices), threads}, stream, from, chosen, slot_of_expert,
                          experts, slot_of, width, to);
}

} // namespace troupe::cuda
