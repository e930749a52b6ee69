// Math      z = sum over splits of 2^(lse_i - lse) z_i
// Shapes    mla_decode.hpp
// Mapping   the splits by the kernels of the GPU's path, their sum here: one CTA a row, four channels a thread
// Invariant four groups of threads take every fourth split, and their sums are added in order
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/split_plan.cuh"
#include "kernels/cuda/mla_decode_parts.hpp"

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>

namespace troupe::cuda {
namespace {

constexpr int splits_max = 512;
constexpr int combine_groups = 4;
constexpr int splits_tile_rows = 64; // of the Hopper kernel

__device__ std::uint32_t pack(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

__global__ void __launch_bounds__(combine_groups* mla_latent / 4) combine_splits_kernel(const mla_decode_args args) {
  __shared__ float lse[splits_max];
  __shared__ float4 sums[combine_groups - 1][mla_latent / 4]; // of the groups after the first
  __shared__ float totals[combine_groups - 1];
  const int group = threadIdx.x / (mla_latent / 4), quad = threadIdx.x % (mla_latent / 4);
  const std::size_t rows = std::size_t(args.requests) * args.queries * args.heads, row = blockIdx.x;
  const int splits = split_plan(args, args.lengths[row / (args.queries * args.heads)]).count; // older than the splits
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  if (splits == 1) return; // it is where it belongs
  for (int i = threadIdx.x; i < splits; i += blockDim.x) lse[i] = args.partial_lse[i * rows + row];
  __syncthreads();
  float peak = -INFINITY, total = 0;
  for (int i = 0; i < splits; ++i) peak = fmaxf(peak, lse[i]);
  float4 sum = {};
#pragma unroll 8 // loads of several splits at once
  for (int i = group; i < splits; i += combine_groups) {
    const float weight = exp2f(lse[i] - peak);
    const float4 z = __ldcs(reinterpret_cast<const float4*>(args.partial_out + (i * rows + row) * mla_latent) + quad);
    total += weight;
    sum.x += weight * z.x, sum.y += weight * z.y, sum.z += weight * z.z, sum.w += weight * z.w;
  }
  if (group > 0) sums[group - 1][quad] = sum;
  if (group > 0 && quad == 0) totals[group - 1] = total;
  __syncthreads();
  if (group > 0) return;
  for (int g = 0; g < combine_groups - 1; ++g) {
    const float4 other = sums[g][quad];
    total += totals[g];
    sum.x += other.x, sum.y += other.y, sum.z += other.z, sum.w += other.w;
  }
  const uint2 packed = {pack(sum.x / total, sum.y / total), pack(sum.z / total, sum.w / total)};
  reinterpret_cast<uint2*>(args.out + row * mla_latent)[quad] = packed;
}

/// Rows that fit on the GPU at once take a multiprocessor each, which this much shared memory sees to: left to
/// themselves, several share one and what it can load.
cudaError_t combine_shared_bytes(int rows, int& bytes) {
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  if (const auto e = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, bytes)) return e;
  bytes = rows <= sms ? bytes / 2 : 0;
  return cudaSuccess;
}

} // namespace

int mla_decode_splits(int requests, int rows_per_request, int table_pages, int sms) {
  const int tiles = requests * ((rows_per_request + splits_tile_rows - 1) / splits_tile_rows);
  if (tiles == 0 || tiles >= sms) return 1;
  return std::clamp(sms / tiles, 1, std::max(1, table_pages / 2));
}

cudaError_t mla_decode(const mla_decode_args& args, cudaStream_t stream, kernel_path path) {
  if (args.queries < 1 || args.heads < 1 || args.splits < 1 || args.splits > splits_max || args.table_pages < 1)
    return cudaErrorInvalidValue;
  if (args.requests == 0) return cudaSuccess;
  const auto launched =
      path == kernel_path::hopper ? sm90_mla_decode_parts(args, stream) : sm80_mla_decode_parts(args, stream);
  if (launched != cudaSuccess || args.splits == 1) return launched;
  const int rows = args.requests * args.queries * args.heads;
  int shared_bytes = 0;
  if (const auto e = combine_shared_bytes(rows, shared_bytes)) return e;
  return launch_dependent(combine_splits_kernel, {dim3(rows), combine_groups * mla_latent / 4, shared_bytes}, stream,
                          args);
}

} // namespace troupe::cuda
