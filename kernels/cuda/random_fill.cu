// Math      r = 16 bits of splitmix64(state + (i / 4 + 1) gamma);  bf16(r * step), or the e4m3 code r mod 256
// Shapes    any count
// Roofline  bytes written; right first, since it runs once
// Mapping   a thread makes four neighbours at a time
// Source    Steele, Lea, Flood 2014 (splitmix64); runtime/exec/random_weights.cpp makes the same numbers on the host
#include "kernels/cuda/random_fill.hpp"

#include <cuda_bf16.h>

namespace troupe::cuda {
namespace {

__device__ std::uint64_t number(std::uint64_t state, std::int64_t i) {
  std::uint64_t z = state + 0x9e3779b97f4a7c15ull * std::uint64_t(i + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

struct to_bf16 {
  float step;
  __device__ std::uint16_t operator()(std::uint16_t bits) const {
    const auto value = __float2bfloat16_rn(__fmul_rn(float(std::int16_t(bits)), step));
    return reinterpret_cast<const std::uint16_t&>(value);
  }
};
struct to_e4m3 {
  __device__ std::uint8_t operator()(std::uint16_t bits) const {
    const auto code = std::uint8_t(bits);
    return (code & 0x7f) == 0x7f ? code & 0xfe : code;
  }
};

template <class T, class Make>
__global__ void fill_kernel(T* to, std::int64_t count, std::uint64_t state, Make make) {
  const std::int64_t step = std::int64_t(gridDim.x) * blockDim.x;
  for (std::int64_t quad = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; quad * 4 < count; quad += step) {
    std::uint64_t bits = number(state, quad);
    for (std::int64_t i = quad * 4; i < min(quad * 4 + 4, count); ++i, bits >>= 16) to[i] = make(std::uint16_t(bits));
  }
}

template <class T, class Make>
cudaError_t fill(T* to, std::int64_t count, std::uint64_t state, Make make, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  constexpr int threads = 256, blocks_max = 4096;
  const auto blocks = (count + 4 * threads - 1) / (4 * threads);
  fill_kernel<<<int(blocks < blocks_max ? blocks : blocks_max), threads, 0, stream>>>(to, count, state, make);
  return cudaGetLastError();
}

} // namespace

cudaError_t fill_random_bf16(std::uint16_t* to, std::int64_t count, std::uint64_t state, float step,
                             cudaStream_t stream) {
  return fill(to, count, state, to_bf16{step}, stream);
}

cudaError_t fill_random_e4m3(std::uint8_t* to, std::int64_t count, std::uint64_t state, cudaStream_t stream) {
  return fill(to, count, state, to_e4m3{}, stream);
}

} // namespace troupe::cuda
