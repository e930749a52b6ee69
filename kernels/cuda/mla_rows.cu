// Math      c = w c_raw / sqrt(mean(c_raw²) + eps);  (a, b) -> (a cos - b sin, b cos + a sin) per pair of channels
//           fp8_ds_mla: c is stored as e4m3(c / 2^k), 2^k of each 128 channels by cache_format.hpp
// Shapes    q [tokens, heads, nope + 64] f32 -> bf16 nope and rotated parts;  entry [tokens, 576] f32 -> cache
// Roofline  128 heads: 98 KB in, 49 KB out a token; 64 tokens 9.4 MB: 2 us at 4.5 TB/s; launch-bound in decode
// Mapping   grid (tokens, heads / 8 + 1): a warp a head; the first CTA of a token does the cache entry
// Source    model-spec.md 5.4 and 6.1; DeepSeek's own code rotates in float32 and rounds the result, as here
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/mla_rows.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int warps = 8;
constexpr int threads = warps * 32;
constexpr int rope = mla_entry - mla_latent;

/// Lane i turns pair i of `x` and stores it at the same place of `y`.
__device__ void rotate_pair(const mla_rows_args& args, int token, const float* x, __nv_bfloat16* y) {
  const int pair = threadIdx.x % 32, step = args.interleaved ? 2 : 1, distance = args.interleaved ? 1 : rope / 2;
  const float cos = args.cos[token * (rope / 2) + pair], sin = args.sin[token * (rope / 2) + pair];
  const float a = x[pair * step], b = x[pair * step + distance];
  y[pair * step] = __float2bfloat16_rn(a * cos - b * sin);
  y[pair * step + distance] = __float2bfloat16_rn(b * cos + a * sin);
}

__device__ void query_head(const mla_rows_args& args, int token, int head) {
  const std::size_t at = std::size_t(token) * args.heads + head;
  const float* q = args.q + at * (args.nope + rope);
  auto* nope = reinterpret_cast<__nv_bfloat16*>(args.q_nope) + at * args.q_nope_pitch;
  for (int i = threadIdx.x % 32; i < args.nope; i += 32) nope[i] = __float2bfloat16_rn(q[i]);
  rotate_pair(args, token, q + args.nope, reinterpret_cast<__nv_bfloat16*>(args.q_rope) + at * args.q_rope_pitch);
}

__device__ float finite_size(float x) { return isfinite(x) ? fabsf(x) : 0.0f; }

__device__ std::uint8_t code_of(float x) {
  return isfinite(x) ? __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3) : 0x7F;
}

/// Two channels of the latent in 656 bytes; 64 threads share a scale.
__device__ void store_codes(std::uint8_t* entry, float2 c) {
  __shared__ float peak_of_warp[warps];
  float peak = fmaxf(finite_size(c.x), finite_size(c.y));
#pragma unroll
  for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
  if (threadIdx.x % 32 == 0) peak_of_warp[threadIdx.x / 32] = peak;
  __syncthreads();
  const int group = threadIdx.x / 64;
  const int k = kernels::cache_scale_exponent(fmaxf(peak_of_warp[2 * group], peak_of_warp[2 * group + 1]));
  const float inverse = __int_as_float((127 - k) << 23);
  const auto low = code_of(c.x * inverse), high = code_of(c.y * inverse);
  reinterpret_cast<std::uint16_t*>(entry)[threadIdx.x] = static_cast<std::uint16_t>(low | high << 8);
  if (threadIdx.x % 64 == 0) reinterpret_cast<float*>(entry + mla_latent)[group] = __int_as_float((127 + k) << 23);
}

template <cache_format Format>
__device__ void cache_entry(const mla_rows_args& args, int token) {
  __shared__ float of_warp[warps];
  const float* entry = args.entry + token * args.entry_pitch;
  auto* to = static_cast<std::uint8_t*>(args.cache) + std::size_t(args.slots[token]) * mla_entry_bytes(Format);
  const float2 v = reinterpret_cast<const float2*>(entry)[threadIdx.x]; // 256 threads hold the 512 channels
  float squares = v.x * v.x + v.y * v.y;
#pragma unroll
  for (int d = 16; d; d /= 2) squares += __shfl_xor_sync(~0u, squares, d);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = squares;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < warps; ++w) sum += of_warp[w];
  const float factor = 1.0f / sqrtf(sum / mla_latent + args.eps);
  const float2 weight = reinterpret_cast<const float2*>(args.norm)[threadIdx.x];
  const float2 c = {weight.x * (v.x * factor), weight.y * (v.y * factor)};
  if constexpr (Format == cache_format::plain)
    reinterpret_cast<__nv_bfloat162*>(to)[threadIdx.x] = __floats2bfloat162_rn(c.x, c.y);
  else
    store_codes(to, c);
  auto* key = reinterpret_cast<__nv_bfloat16*>(to + mla_entry_bytes(Format)) - rope;
  if (threadIdx.x < 32) rotate_pair(args, token, entry + mla_latent, key);
}

template <cache_format Format>
__global__ void __launch_bounds__(threads) mla_rows_kernel(const mla_rows_args args) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const int token = blockIdx.x, head = (int(blockIdx.y) - 1) * warps + threadIdx.x / 32;
  if (blockIdx.y == 0)
    cache_entry<Format>(args, token);
  else if (head < args.heads)
    query_head(args, token, head);
}

} // namespace

cudaError_t mla_rows(const mla_rows_args& args, cudaStream_t stream) {
  static_assert(mla_latent == 2 * threads && rope == 64, "a thread holds two latent channels, a lane one pair");
  if (args.entry_pitch % 2) return cudaErrorInvalidValue;
  if (args.tokens == 0) return cudaSuccess;
  const dim3 grid(args.tokens, (args.heads + warps - 1) / warps + 1);
  const auto kernel = args.format == cache_format::plain ? mla_rows_kernel<cache_format::plain>
                                                         : mla_rows_kernel<cache_format::fp8_ds_mla>;
  return launch_dependent(kernel, {grid, threads}, stream, args);
}

} // namespace troupe::cuda
