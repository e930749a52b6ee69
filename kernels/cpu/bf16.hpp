// Between fp32 and bf16, as wide as this machine allows: the bits of float_to_bf16 and bf16_to_float on every machine.
#pragma once

#include "kernels/tensor_type.hpp"

#include <cstdint>

namespace troupe::kernels {

/// Rounds to nearest even; a NaN stays one.
void to_bf16(const float* from, std::uint16_t* to, std::int64_t count);
/// Exact.
void from_bf16(const std::uint16_t* from, float* to, std::int64_t count);
/// Rounds to bf16 and back. `to` may be `from`.
void round_floats(const float* from, float* to, std::int64_t count);

} // namespace troupe::kernels
