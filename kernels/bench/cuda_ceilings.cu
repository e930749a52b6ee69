// Helpers of cuda_bench that need device code: random fill and an empty kernel.
#include "kernels/bench/cuda_ceilings.hpp"

namespace troupe::bench {
namespace {

__device__ unsigned mix(unsigned long long i, unsigned seed) {
  unsigned long long z = (i + 1) * 0x9E3779B97F4A7C15ull + seed;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return static_cast<unsigned>(z >> 32);
}

__global__ void fill_e4m3_kernel(unsigned* words, std::size_t count, unsigned seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    words[i] = mix(i, seed) & 0xF7F7F7F7u; // exponent never all ones: no NaN
}

__global__ void fill_floats_kernel(float* values, std::size_t count, float low, float high, unsigned seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    values[i] = low + (high - low) * (mix(i, seed) >> 8) * 0x1p-24f;
}

__global__ void fill_bf16_kernel(std::uint16_t* values, std::size_t count, unsigned seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    values[i] = static_cast<std::uint16_t>((mix(i, seed) & 0x81FFu) | 0x3E00u); // +-[0.125, 0.5)
}

__global__ void empty_kernel() {}

} // namespace

void nothing(cudaStream_t stream) { empty_kernel<<<1, 32, 0, stream>>>(); }

void fill_e4m3(std::uint8_t* bytes, std::size_t count, unsigned seed) {
  fill_e4m3_kernel<<<1024, 256>>>(reinterpret_cast<unsigned*>(bytes), count / 4, seed);
}
void fill_floats(float* values, std::size_t count, float low, float high, unsigned seed) {
  fill_floats_kernel<<<1024, 256>>>(values, count, low, high, seed);
}
void fill_bf16(std::uint16_t* values, std::size_t count, unsigned seed) {
  fill_bf16_kernel<<<1024, 256>>>(values, count, seed);
}

} // namespace troupe::bench
