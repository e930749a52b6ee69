#include "kernels/cpu/attention_softmax.hpp"

namespace troupe::kernels {
namespace {

/// Transposes 16 x 16 dwords in registers: first within 128-bit lanes, then the lanes themselves.
inline void transpose(__m512i* rows) {
  __m512i a[16];
  for (int i = 0; i < 16; i += 4) {
    const auto low0 = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), high0 = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    const auto low1 = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
    const auto high1 = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
    a[i] = _mm512_unpacklo_epi64(low0, low1);
    a[i + 1] = _mm512_unpackhi_epi64(low0, low1);
    a[i + 2] = _mm512_unpacklo_epi64(high0, high1);
    a[i + 3] = _mm512_unpackhi_epi64(high0, high1);
  }
  for (int i = 0; i < 4; ++i) {
    const auto even01 = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88), odd01 = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    const auto even23 = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    const auto odd23 = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    rows[i] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    rows[i + 4] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
    rows[i + 12] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

inline __m512i to_bf16(f32x16 a) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a.v)); }

} // namespace

namespace detail {

void softmax_avx512_f32(const softmax_args& a) { softmax_to_floats(a); }

void softmax_avx512_bf16(const softmax_args& a) {
  softmax_lanes(a, [&](std::int64_t half, std::int64_t tile, const f32x16* p) {
    __m512i pairs[16]; // [pair of positions][lane], then [lane][pair of positions]
    for (int i = 0; i < 16; ++i)
      pairs[i] = _mm512_or_si512(to_bf16(p[2 * i]), _mm512_slli_epi32(to_bf16(p[2 * i + 1]), 16));
    transpose(pairs);
    auto* to = a.probabilities + half * a.group_bytes + tile * 1024;
    for (int lane = 0; lane < 16; ++lane) _mm512_store_si512(to + lane * 64, pairs[lane]);
  });
}

void pack_values_bf16(const std::byte* rows, std::int64_t row_bytes, std::int64_t valid, std::int64_t blocks,
                      std::byte* tile, std::int64_t block_bytes) {
  const auto widen = [&](std::int64_t row, std::int64_t half) { // 16 channels
    if (row >= valid) return _mm512_setzero_si512();
    const auto* p = reinterpret_cast<const __m256i*>(rows + row * row_bytes + half * 32);
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
  };
  for (std::int64_t pair = 0; pair < 16; ++pair)
    for (std::int64_t half = 0; half < blocks * 2; ++half) {
      auto* to = tile + half / 2 * block_bytes + half % 2 * 1024 + pair * 64;
      _mm512_store_si512(to, _mm512_or_si512(widen(2 * pair, half), _mm512_slli_epi32(widen(2 * pair + 1, half), 16)));
    }
}

void pack_queries_bf16(const std::byte* rows, std::int64_t row_bytes, std::int64_t lanes, std::int64_t tiles,
                       std::byte* to) {
  for (std::int64_t half = 0; half < 32 * tiles; half += 16, to += 1024) {
    const auto first = half % 32;
    const auto* from = rows + half / 32 * 64;
    __m512i pairs[16]; // [lane][pair of inputs], then [pair of inputs][lane]
    for (int i = 0; i < 16; ++i)
      pairs[i] = first + i < lanes ? _mm512_loadu_si512(from + (first + i) * row_bytes) : _mm512_setzero_si512();
    transpose(pairs);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 64, pairs[i]);
  }
}

} // namespace detail
} // namespace troupe::kernels
