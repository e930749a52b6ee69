// Activations on their way to experts and back: fp32 or bf16 in a row of bytes.
#pragma once

#include "kernels/cpu/bf16.hpp"
#include "runtime/moe/dispatch.hpp"

#include <cstring>

namespace troupe::moe {

/// Stores `from` at `to`, rounded to `type`.
inline void write_elements(std::span<const float> from, element type, std::byte* to) {
  if (type == element::f32) {
    std::memcpy(to, from.data(), from.size_bytes());
  } else {
    kernels::to_bf16(from.data(), reinterpret_cast<std::uint16_t*>(to), static_cast<std::int64_t>(from.size()));
  }
}

/// The inverse, exact.
inline void read_elements(const std::byte* from, element type, std::span<float> to) {
  if (type == element::f32) {
    std::memcpy(to.data(), from, to.size_bytes());
  } else {
    kernels::from_bf16(reinterpret_cast<const std::uint16_t*>(from), to.data(), static_cast<std::int64_t>(to.size()));
  }
}

} // namespace troupe::moe
