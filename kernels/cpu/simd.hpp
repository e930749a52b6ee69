// Sixteen floats in the widest registers of the including file: one __m512, two __m256, or an array (baseline files,
// which get the plain operations only). Operations are those every width rounds alike, so all give the same bits.
// Everything is in an unnamed namespace, so that the linker cannot hand AVX-512 code to a file meant for less.
#pragma once

#include "kernels/tensor_type.hpp"

#include <cstdint>
#include <immintrin.h>
#include <limits>

namespace troupe::kernels {
namespace {

#if defined(__AVX512F__)

struct f32x16 {
  __m512 v;
};
inline f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
inline f32x16 broadcast(float a) { return {_mm512_set1_ps(a)}; }
inline f32x16 operator+(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline f32x16 min(f32x16 a, f32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
/// a < b ? yes : no, lane by lane.
inline f32x16 select_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
/// 2^n for integral n in [-126, 127].
inline f32x16 power_of_two(f32x16 n) {
  const auto biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
inline f32x16 round_to_integer(f32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

/// The nearest bf16, ties to even, NaN quiet: float_to_bf16 sixteen times. vcvtneps2bf16 would lose subnormals.
inline f32x16 round_to_bf16(f32x16 a) {
  const auto bits = _mm512_castps_si512(a.v);
  const auto odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const auto rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const auto is_nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const auto kept = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
  return {_mm512_castsi512_ps(_mm512_and_si512(kept, _mm512_set1_epi32(~0xffff)))};
}
inline void store_high_halves(std::uint16_t* p, f32x16 a) {
  const auto bits = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bits));
}
inline f32x16 load_bf16(const std::uint16_t* p) {
  const auto bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16))};
}

#elif defined(__AVX2__)

struct f32x16 {
  __m256 lo, hi;
};
inline f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, f32x16 a) { _mm256_storeu_ps(p, a.lo), _mm256_storeu_ps(p + 8, a.hi); }
inline f32x16 broadcast(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
inline f32x16 operator+(f32x16 a, f32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline f32x16 operator-(f32x16 a, f32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline f32x16 operator*(f32x16 a, f32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline f32x16 operator/(f32x16 a, f32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline f32x16 min(f32x16 a, f32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline f32x16 select_less(f32x16 a, f32x16 b, f32x16 yes, f32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
inline __m256 power_of_two(__m256 n) {
  const auto biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
inline f32x16 power_of_two(f32x16 n) { return {power_of_two(n.lo), power_of_two(n.hi)}; }
inline f32x16 round_to_integer(f32x16 a) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, nearest), _mm256_round_ps(a.hi, nearest)};
}

inline __m256 round_to_bf16(__m256 a) {
  const auto bits = _mm256_castps_si256(a);
  const auto odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const auto rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const auto quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const auto is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const auto kept = _mm256_blendv_epi8(rounded, quiet, is_nan);
  return _mm256_castsi256_ps(_mm256_and_si256(kept, _mm256_set1_epi32(~0xffff)));
}
inline f32x16 round_to_bf16(f32x16 a) { return {round_to_bf16(a.lo), round_to_bf16(a.hi)}; }
inline void store_high_halves(std::uint16_t* p, f32x16 a) {
  const auto low = _mm256_srli_epi32(_mm256_castps_si256(a.lo), 16);
  const auto high = _mm256_srli_epi32(_mm256_castps_si256(a.hi), 16);
  const auto packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}
inline f32x16 load_bf16(const std::uint16_t* p) {
  const auto widen = [](const std::uint16_t* from) {
    const auto bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  };
  return {widen(p), widen(p + 8)};
}

#else

struct f32x16 {
  float v[16];
};
template <class Fn>
inline f32x16 each_lane(Fn fn) {
  f32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = fn(i);
  return out;
}
inline f32x16 load(const float* p) {
  return each_lane([&](int i) { return p[i]; });
}
inline void store(float* p, f32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
inline f32x16 broadcast(float a) {
  return each_lane([&](int) { return a; });
}
inline f32x16 operator+(f32x16 a, f32x16 b) {
  return each_lane([&](int i) { return a.v[i] + b.v[i]; });
}
inline f32x16 operator*(f32x16 a, f32x16 b) {
  return each_lane([&](int i) { return a.v[i] * b.v[i]; });
}
inline f32x16 round_to_bf16(f32x16 a) {
  return each_lane([&](int i) { return bf16_to_float(float_to_bf16(a.v[i])); });
}
inline void store_high_halves(std::uint16_t* p, f32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_bf16(a.v[i]);
}
inline f32x16 load_bf16(const std::uint16_t* p) {
  return each_lane([&](int i) { return bf16_to_float(p[i]); });
}

#endif

#if defined(__AVX2__)

/// exp(x), about 1 ulp; exactly 0 below -87 (where float32 is about to become subnormal), infinite above 88.
/// Cephes: x = n ln 2 + r, |r| <= ln 2 / 2, degree-6 polynomial in r.
inline f32x16 exp(f32x16 x) {
  const auto bounded = min(broadcast(88.0f), x); // this order keeps NaN
  const auto n = round_to_integer(bounded * broadcast(1.44269504088896341f));
  auto r = fma(n, broadcast(-0.693359375f), bounded);
  r = fma(n, broadcast(2.12194440e-4f), r);
  auto p = fma(broadcast(1.9875691500e-4f), r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r + broadcast(1.0f));
  const auto positive =
      select_less(broadcast(88.0f), x, broadcast(std::numeric_limits<float>::infinity()), p * power_of_two(n));
  return select_less(x, broadcast(-87.0f), broadcast(0.0f), positive);
}

inline f32x16 silu(f32x16 x) { return x / (broadcast(1.0f) + exp(broadcast(0.0f) - x)); }

#endif

} // namespace
} // namespace troupe::kernels
