// Rounding to bf16 four floats at a time, in baseline SSE2: the same bits as float_to_bf16 on every machine.
#pragma once

#include "kernels/tensor_type.hpp"

#include <cstdint>
#include <emmintrin.h>

namespace troupe::kernels {

/// Four floats rounded to nearest even, as the high halves of 32-bit lanes.
inline __m128i round_high_halves(const float* from) {
  const auto value = _mm_loadu_ps(from);
  const auto bits = _mm_castps_si128(value);
  const auto odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
  const auto rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
  const auto quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
  const auto is_nan = _mm_castps_si128(_mm_cmpunord_ps(value, value));
  return _mm_or_si128(_mm_and_si128(is_nan, quiet), _mm_andnot_si128(is_nan, rounded));
}

inline void to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto low = _mm_srai_epi32(round_high_halves(from + i), 16);
    const auto high = _mm_srai_epi32(round_high_halves(from + i + 4), 16);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm_packs_epi32(low, high));
  }
  for (; i < count; ++i) to[i] = float_to_bf16(from[i]);
}

inline void from_bf16(const std::uint16_t* from, float* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm_storeu_ps(to + i, _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), bits)));
    _mm_storeu_ps(to + i + 4, _mm_castsi128_ps(_mm_unpackhi_epi16(_mm_setzero_si128(), bits)));
  }
  for (; i < count; ++i) to[i] = bf16_to_float(from[i]);
}

/// Rounds to bf16 and back.
inline void round_floats(const float* from, float* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const auto kept = _mm_and_si128(round_high_halves(from + i), _mm_set1_epi32(~0xffff));
    _mm_storeu_ps(to + i, _mm_castsi128_ps(kept));
  }
  for (; i < count; ++i) to[i] = bf16_to_float(float_to_bf16(from[i]));
}

} // namespace troupe::kernels
