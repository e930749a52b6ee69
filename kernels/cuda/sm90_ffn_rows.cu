// Math      quantise: s = max(max|x|, 1e-4) / 448 per row and 128 channels, q = e4m3(x / s)
//           combine:  y[t] = sum_j weight[t,j] * out[slot[t,j]], j ascending, fp32, one rounding to bf16
// Shapes    x [tokens, H] bf16;  inputs [experts, rows_max, H] e4m3;  scales [experts, H/128, rows_max];
//           y [tokens, H] bf16
// Roofline  512 rows of H=7168: 7.3 MB in, 3.7 MB out: about 3 us at 4 TB/s; launch-bound below that
// Mapping   quantise: one warp per (slot, 128 channels), 4 values a lane.  combine: one thread per 8 channels
// Source    model-spec.md sections 7.3 and 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/quantise.cuh"
#include "kernels/cuda/grouped_ffn.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

__global__ void quantise_rows_kernel(ffn_shape shape, ffn_routing routing, const __nv_bfloat16* x, ffn_workspace ws) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const int expert = blockIdx.y, slot = blockIdx.x, lane = threadIdx.x % 32, groups = shape.hidden / 128;
  if (slot >= routing.rows[expert]) return;
  const std::size_t row = static_cast<std::size_t>(expert) * shape.rows_max + slot;
  const __nv_bfloat16* from = x + static_cast<std::size_t>(routing.token_of[row]) * shape.hidden;
  for (int group = threadIdx.x / 32; group < groups; group += blockDim.x / 32) {
    const uint2 packed = reinterpret_cast<const uint2*>(from + group * 128)[lane];
    const float2 low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(packed.x));
    const float2 high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(packed.y));
    float peak = fmaxf(fmaxf(fabsf(low.x), fabsf(low.y)), fmaxf(fabsf(high.x), fabsf(high.y)));
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
    const float scale = scale_of(peak), inverse = ptx::reciprocal_approx(scale);
    const __nv_fp8x4_e4m3 q(make_float4(divide(low.x, scale, inverse), divide(low.y, scale, inverse),
                                        divide(high.x, scale, inverse), divide(high.y, scale, inverse)));
    reinterpret_cast<__nv_fp8x4_e4m3*>(static_cast<std::uint8_t*>(ws.inputs) + row * shape.hidden + group * 128)[lane] =
        q;
    if (lane == 0) ws.input_scales[(static_cast<std::size_t>(expert) * groups + group) * shape.rows_max + slot] = scale;
  }
}

__global__ void combine_rows_kernel(ffn_shape shape, ffn_routing routing, const std::uint16_t* outputs,
                                    std::uint16_t* y) {
  ptx::grid_dependency_wait();
  const int token = blockIdx.y, eighth = blockIdx.x * blockDim.x + threadIdx.x;
  if (eighth * 8 >= shape.hidden) return;
  float sum[8] = {};
  for (int j = 0; j < routing.experts_per_token; ++j) {
    const int choice = token * routing.experts_per_token + j, slot = routing.slot_of[choice];
    if (slot < 0) continue;
    const float weight = routing.weights[choice];
    const uint4 packed =
        reinterpret_cast<const uint4*>(outputs + static_cast<std::size_t>(slot) * shape.hidden)[eighth];
    const auto* pair = reinterpret_cast<const __nv_bfloat162*>(&packed);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 v = __bfloat1622float2(pair[i]);
      sum[2 * i] = fmaf(weight, v.x, sum[2 * i]);
      sum[2 * i + 1] = fmaf(weight, v.y, sum[2 * i + 1]);
    }
  }
  uint4 packed;
  auto* pair = reinterpret_cast<__nv_bfloat162*>(&packed);
#pragma unroll
  for (int i = 0; i < 4; ++i) pair[i] = __floats2bfloat162_rn(sum[2 * i], sum[2 * i + 1]);
  reinterpret_cast<uint4*>(y + static_cast<std::size_t>(token) * shape.hidden)[eighth] = packed;
}

} // namespace

cudaError_t quantise_rows(const ffn_shape& shape, const ffn_routing& routing, const std::uint16_t* x,
                          const ffn_workspace& ws, cudaStream_t stream) {
  if (shape.hidden % 128) return cudaErrorInvalidValue;
  if (shape.experts == 0 || shape.rows_max == 0) return cudaSuccess;
  return launch_dependent(quantise_rows_kernel, {dim3(shape.rows_max, shape.experts), 256}, stream, shape, routing,
                          reinterpret_cast<const __nv_bfloat16*>(x), ws);
}

cudaError_t combine_rows(const ffn_shape& shape, const ffn_routing& routing, const ffn_workspace& ws, std::uint16_t* y,
                         cudaStream_t stream) {
  if (shape.hidden % 8) return cudaErrorInvalidValue;
  if (routing.tokens == 0) return cudaSuccess;
  const int blocks = (shape.hidden / 8 + 127) / 128;
  return launch_dependent(combine_rows_kernel, {dim3(blocks, routing.tokens), 128}, stream, shape, routing, ws.outputs,
                          y);
}

} // namespace troupe::cuda
