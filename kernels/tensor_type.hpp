// Element types of checkpoint tensors and their exact conversions to float32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace troupe::kernels {

enum class tensor_type : std::uint8_t { f32, bf16, f16, f8_e4m3 };

constexpr std::size_t bytes_of(tensor_type type) {
  switch (type) {
  case tensor_type::f32: return 4;
  case tensor_type::bf16:
  case tensor_type::f16: return 2;
  case tensor_type::f8_e4m3: return 1;
  }
  return 0;
}

constexpr float bf16_to_float(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

/// Round to nearest even; NaN stays a (quiet) NaN.
constexpr std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// E4M3FN: bias 7, no infinities, 0x7F and 0xFF are NaN (model-spec.md section 9).
constexpr float f8_e4m3_to_float(std::uint8_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x80u} << 24;
  const std::uint32_t exponent = (bits >> 3) & 15u;
  const std::uint32_t mantissa = bits & 7u;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

/// Nearest e4m3 number, ties to even, at most 448; what is infinite or no number becomes 0x7F.
constexpr std::uint8_t float_to_f8_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 24 & 0x80u, size = bits & 0x7fffffffu;
  if (size >= 0x7f800000u) return 0x7f;
  const std::uint32_t largest = 0x43e00000u; // 448
  if (size >= largest) return static_cast<std::uint8_t>(sign | 0x7e);
  if (size < 0x3c800000u) { // below 2^-6 codes count steps of 2^-9: adding 2^14 rounds to them
    const auto steps = std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + 0x1p14f) - 0x46800000u;
    return static_cast<std::uint8_t>(sign | steps);
  }
  const auto rounded = size + 0x7ffffu + (size >> 20 & 1u);
  return static_cast<std::uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

} // namespace troupe::kernels
