// FP8 -> BF16 for the kernels that multiply pairs of bf16 (AVX-512 BF16 and AMX). Included by their files only.
#pragma once

#include "kernels/cpu/panel.hpp"

#include <immintrin.h>

namespace troupe::kernels {
namespace {

/// High and low byte of the bf16 of every non-negative e4m3 code: a byte permute decodes 64 weights. All values are
/// exact, subnormals too; shifting bits and scaling by 2^120 instead would lose them, since bf16 products read
/// subnormal operands as zero.
struct e4m3_tables {
  alignas(64) std::uint8_t high[128];
  alignas(64) std::uint8_t low[128];
};

constexpr e4m3_tables make_e4m3_tables() {
  e4m3_tables t{};
  for (int code = 0; code < 128; ++code) {
    const auto bits = float_to_bf16(f8_e4m3_to_float(static_cast<std::uint8_t>(code)));
    t.high[code] = static_cast<std::uint8_t>(bits >> 8);
    t.low[code] = static_cast<std::uint8_t>(bits & 0xff);
  }
  return t;
}
constexpr e4m3_tables e4m3 = make_e4m3_tables();

/// Unpacks `tiles` FP8 tiles (1 KB) into bf16 tiles (2 KB).
inline void unpack_f8(const std::byte* from, std::byte* to, std::int64_t tiles) {
  const auto high0 = _mm512_load_si512(e4m3.high), high1 = _mm512_load_si512(e4m3.high + 64);
  const auto low0 = _mm512_load_si512(e4m3.low), low1 = _mm512_load_si512(e4m3.low + 64);
  const auto sign = _mm512_set1_epi8(INT8_MIN);
  for (std::int64_t i = 0; i < tiles * 16; ++i) {
    const auto codes = _mm512_load_si512(from + i * 64);
    const auto high = _mm512_permutex2var_epi8(high0, codes, high1);
    const auto low = _mm512_permutex2var_epi8(low0, codes, low1);
    constexpr int or_masked = 0xf8; // a | (b & c)
    const auto signed_high = _mm512_ternarylogic_epi32(high, codes, sign, or_masked);
    _mm512_store_si512(to + i * 128, _mm512_unpacklo_epi8(low, signed_high));
    _mm512_store_si512(to + i * 128 + 64, _mm512_unpackhi_epi8(low, signed_high));
  }
}

/// acc += scale * sum, `count` vectors of 16; `fresh`: acc counts as zero.
inline void add_scaled_sums(float* acc, const float* sum, float scale, std::int64_t count, bool fresh) {
  const auto factor = _mm512_set1_ps(scale);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto old = fresh ? _mm512_setzero_ps() : _mm512_load_ps(acc + i * 16);
    _mm512_store_ps(acc + i * 16, _mm512_fmadd_ps(factor, _mm512_load_ps(sum + i * 16), old));
  }
}

} // namespace
} // namespace troupe::kernels
