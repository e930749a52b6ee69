// The panel kernel in fp32 arithmetic, for any vector width (see simd.hpp): float32 compute everywhere, and AVX2.
// Weights become an fp32 tile in L1 first; every element's sum is a chain of FMAs in input order.
#pragma once

#include "kernels/cpu/panel.hpp"
#include "kernels/cpu/simd.hpp"

namespace troupe::kernels {
namespace {

// [32 inputs][32 outputs] fp32
constexpr std::int64_t float_tile = tile_inputs * tile_outputs;

inline void widen_bf16_pairs(__m256i pairs, float* even, float* odd) {
  _mm256_store_ps(even, _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)));
  _mm256_store_ps(odd, _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(~0xffff))));
}

// e4m3 in bits 24..31 of each lane -> fp32. Exponent and mantissa move below the sign and the bias grows by 120. Codes
// with exponent 0 are read as (1 + m/8) 2^-6 and lose 2^-6 again, which is exact and never touches a subnormal float
// (those cost a microcode assist each). The two NaN codes are put right by a blend.
inline __m256 e4m3_to_float(__m256i top) {
  const auto magnitude = _mm256_srli_epi32(_mm256_and_si256(top, _mm256_set1_epi32(0x7f000000)), 4);
  const auto sign = _mm256_and_si256(top, _mm256_set1_epi32(INT32_MIN));
  const auto small = _mm256_cmpgt_epi32(_mm256_set1_epi32(1 << 23), magnitude);
  const auto bias = _mm256_add_epi32(_mm256_set1_epi32(120 << 23), _mm256_and_si256(small, _mm256_set1_epi32(1 << 23)));
  const auto offset = _mm256_and_ps(_mm256_castsi256_ps(small), _mm256_set1_ps(0x1p-6f));
  const auto number = _mm256_sub_ps(_mm256_castsi256_ps(_mm256_add_epi32(magnitude, bias)), offset);
  const auto is_nan = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x07f00000)));
  const auto value = _mm256_blendv_ps(number, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), is_nan);
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}

inline void widen_f8_pairs(__m128i pairs, float* even, float* odd) {
  const auto words = _mm256_cvtepu16_epi32(pairs);
  _mm256_store_ps(even, e4m3_to_float(_mm256_slli_epi32(words, 24)));
  _mm256_store_ps(odd, e4m3_to_float(_mm256_slli_epi32(_mm256_srli_epi32(words, 8), 24)));
}

/// Tiles of fp32: used as they are.
struct f32_tiles {
  static constexpr auto stored = tensor_type::f32;
  static const float* widen(const std::byte* tile, float*) { return reinterpret_cast<const float*>(tile); }
};

struct bf16_tiles {
  static constexpr auto stored = tensor_type::bf16;
  static const float* widen(const std::byte* tile, float* out) {
    for (int half = 0; half < 2; ++half)
      for (int pair = 0; pair < 16; ++pair)
        for (int part = 0; part < 2; ++part) {
          const auto* p = tile + half * 1024 + pair * 64 + part * 32;
          float* to = out + pair * 64 + half * 16 + part * 8;
          widen_bf16_pairs(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)), to, to + 32);
        }
    return out;
  }
};

struct f8_tiles {
  static constexpr auto stored = tensor_type::f8_e4m3;
  static const float* widen(const std::byte* tile, float* out) {
    for (int half = 0; half < 2; ++half)
      for (int two = 0; two < 8; ++two) // 64 bytes: two vectors of 16 pairs
        for (int part = 0; part < 2; ++part) {
          const auto* p = reinterpret_cast<const __m128i*>(tile + half * 512 + two * 64 + part * 32);
          const auto a = _mm_load_si128(p), b = _mm_load_si128(p + 1);
          float* to = out + two * 128 + half * 16 + part * 8;
          widen_f8_pairs(_mm_unpacklo_epi64(a, b), to, to + 32);
          widen_f8_pairs(_mm_unpackhi_epi64(a, b), to + 64, to + 96);
        }
    return out;
  }
};

#if defined(__AVX512F__)
constexpr int rows_at_once = 8;
#else
constexpr int rows_at_once = 4;
#endif

/// sum[r, 0..31] += x[r, 0..31] w for `Rows` rows of one group.
template <int Rows>
inline void multiply_tile(const std::byte* x, std::int64_t x_row_bytes, const float* w, float* sum) {
  for (int half = 0; half < 2; ++half) {
    f32x16 acc[Rows];
    for (int r = 0; r < Rows; ++r) acc[r] = load(sum + r * 32 + half * 16);
    for (int k = 0; k < 32; ++k) {
      const auto weight = load(w + k * 32 + half * 16);
      for (int r = 0; r < Rows; ++r)
        acc[r] = fma(broadcast(reinterpret_cast<const float*>(x + r * x_row_bytes)[k]), weight, acc[r]);
    }
    for (int r = 0; r < Rows; ++r) store(sum + r * 32 + half * 16, acc[r]);
  }
}

inline void multiply_tile_rows(const panel_args& a, std::int64_t tile, const float* w, float* sum) {
  for (std::int64_t row = 0; row < a.rows;) {
    const auto* x = a.x + row / group_rows * a.x_group_bytes + row % group_rows * a.x_row_bytes + tile * a.x_tile_bytes;
    float* to = sum + row * 32;
    const auto left = a.rows - row;
    if (left >= rows_at_once) {
      multiply_tile<rows_at_once>(x, a.x_row_bytes, w, to), row += rows_at_once;
    } else if (left >= 2) {
      multiply_tile<2>(x, a.x_row_bytes, w, to), row += 2;
    } else {
      multiply_tile<1>(x, a.x_row_bytes, w, to), row += 1;
    }
  }
}

constexpr std::int64_t rows_per_sweep = 128; // their partial sums (16 KB) stay in L1 beside a tile

inline void clear_sums(float* sums, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows * 2; ++i) store(sums + i * 16, broadcast(0));
}

template <class Tiles>
void panel_rows(const panel_args& a) {
  alignas(64) float tile[float_tile];
  alignas(64) float partial[rows_per_sweep * 32];
  const auto step = a.scales ? a.tiles_per_scale : a.tiles;
  if (a.fresh) clear_sums(a.acc, a.rows);
  for (std::int64_t begin = 0; begin < a.tiles; begin += step) {
    const auto end = begin + step < a.tiles ? begin + step : a.tiles;
    float* sum = a.scales ? partial : a.acc;
    if (a.scales) clear_sums(partial, a.rows);
    for (auto t = begin; t < end; ++t)
      multiply_tile_rows(a, t, Tiles::widen(a.weights + t * tile_bytes_of(Tiles::stored), tile), sum);
    if (!a.scales) continue;
    const auto scale = broadcast(a.scales[begin / step]);
    for (std::int64_t i = 0; i < a.rows * 2; ++i)
      store(a.acc + i * 16, fma(scale, load(partial + i * 16), load(a.acc + i * 16)));
  }
}

template <class Tiles>
void panel_float(const panel_args& a) {
  for (std::int64_t row = 0; row < a.rows; row += rows_per_sweep) {
    auto sweep = a;
    sweep.x += row / group_rows * a.x_group_bytes;
    sweep.acc += row * 32;
    sweep.rows = a.rows - row < rows_per_sweep ? a.rows - row : rows_per_sweep;
    panel_rows<Tiles>(sweep);
  }
}

} // namespace
} // namespace troupe::kernels
