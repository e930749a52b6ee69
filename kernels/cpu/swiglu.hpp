// silu(gate) * up on blocks of a panel's output, in the vector width of the caller's instruction set.
#pragma once

#include "kernels/cpu/isa.hpp"

#include <cstdint>

namespace troupe::kernels {

/// gate = silu(gate) * up, `count` a multiple of 16. Same bits for every instruction set.
using swiglu_kernel = void (*)(float* gate, const float* up, std::int64_t count);
swiglu_kernel swiglu_for(isa set);

namespace detail {
void swiglu_avx2(float* gate, const float* up, std::int64_t count);
void swiglu_avx512(float* gate, const float* up, std::int64_t count);
} // namespace detail

} // namespace troupe::kernels
