// Random weights made where they are needed: the numbers of runtime/exec/random_weights, at the speed of the memory.
// Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// to[i] = bits * step, rounded to bf16; `bits` are 16 signed bits of number i / 4 of the splitmix64 sequence that
/// starts at `state`, the lowest first.
cudaError_t fill_random_bf16(std::uint16_t* to, std::int64_t count, std::uint64_t state, float step,
                             cudaStream_t stream);
/// to[i] = the low eight of those bits; the two NaN codes become the largest numbers.
cudaError_t fill_random_e4m3(std::uint8_t* to, std::int64_t count, std::uint64_t state, cudaStream_t stream);

} // namespace troupe::cuda
