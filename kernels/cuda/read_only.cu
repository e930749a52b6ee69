// Math      none: the xor of all words, which is thrown away
// Roofline  this is the roofline: 4.5 to 4.65 TB/s on an H200, 3.11 on an H100
// Mapping   four independent 16-byte loads a thread
#include "kernels/cuda/read_only.hpp"

namespace troupe::cuda {
namespace {

__global__ void read_kernel(const uint4* from, std::size_t count, unsigned* sink) {
  unsigned sum = 0;
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    uint4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = __ldcs(from + i + j * step);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  for (; i < count; i += step) sum += from[i].x ^ from[i].y ^ from[i].z ^ from[i].w;
  if (sum == 0x12345678u) *sink = sum;
}

} // namespace

cudaError_t read_only(const void* data, std::size_t bytes, unsigned* sink, cudaStream_t stream) {
  constexpr int ctas = 132 * 8, threads = 512;
  read_kernel<<<ctas, threads, 0, stream>>>(static_cast<const uint4*>(data), bytes / 16, sink);
  return cudaGetLastError();
}

} // namespace troupe::cuda
