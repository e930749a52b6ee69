// What the card gives in this run: every figure of cuda_bench is a fraction of one of these.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace troupe::bench {

/// Random e4m3 bytes without NaN; `count` is a multiple of 4. Default stream.
void fill_e4m3(std::uint8_t* bytes, std::size_t count, unsigned seed);
/// Uniform floats in [low, high).
void fill_floats(float* values, std::size_t count, float low, float high, unsigned seed);
/// Random bf16 of either sign with magnitudes in [0.125, 0.5).
void fill_bf16(std::uint16_t* values, std::size_t count, unsigned seed);
/// A kernel without work: what a launch alone takes.
void nothing(cudaStream_t stream);

} // namespace troupe::bench
