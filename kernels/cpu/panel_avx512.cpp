// Math      acc[r, o] += sum_k x[r, k] w[k, o]: vdpbf16ps for bfloat16 compute, fp32 FMA (panel_float.hpp) for float32
// Roofline  vdpbf16ps issues every 2 cycles on Sapphire Rapids: 110 GFLOP/s a core at 3.5 GHz (Zen 4: every cycle)
// Measured  one such core: one row 15.6 GB/s bf16, 12.3 FP8 of 18 STREAM; 512 rows 71 GFLOP/s
#include "kernels/cpu/pairs.hpp"
#include "kernels/cpu/panel_float.hpp"

namespace troupe::kernels {
namespace {

/// sum[r, 0..31] (+)= x[r, :] w over `tiles` bf16 tiles for `Rows` rows of one group.
template <int Rows>
inline void multiply_pairs(const std::byte* x, const panel_args& a, const std::byte* w, std::int64_t tiles,
                           const __m512* start, __m512* sum) {
  __m512 left[Rows], right[Rows];
  for (int r = 0; r < Rows; ++r) left[r] = start[r * 2], right[r] = start[r * 2 + 1];
  for (std::int64_t t = 0; t < tiles; ++t, x += a.x_tile_bytes, w += tile_bytes_of(tensor_type::bf16))
    for (int pair = 0; pair < 16; ++pair) {
      const auto w0 = (__m512bh)_mm512_load_si512(w + pair * 64);
      const auto w1 = (__m512bh)_mm512_load_si512(w + 1024 + pair * 64);
      for (int r = 0; r < Rows; ++r) {
        const auto both = reinterpret_cast<const std::int32_t*>(x + r * a.x_row_bytes)[pair];
        const auto xs = (__m512bh)_mm512_set1_epi32(both);
        left[r] = _mm512_dpbf16_ps(left[r], xs, w0);
        right[r] = _mm512_dpbf16_ps(right[r], xs, w1);
      }
    }
  for (int r = 0; r < Rows; ++r) sum[r * 2] = left[r], sum[r * 2 + 1] = right[r];
}

/// acc += scale * (x w), or acc = acc + x w in one chain when unscaled.
template <int Rows>
inline void accumulate(const std::byte* x, const panel_args& a, const std::byte* w, std::int64_t tiles,
                       const float* scale, float* acc) {
  auto* out = reinterpret_cast<__m512*>(acc);
  if (!scale) return multiply_pairs<Rows>(x, a, w, tiles, out, out);
  __m512 zero[Rows * 2]{}, sum[Rows * 2];
  multiply_pairs<Rows>(x, a, w, tiles, zero, sum);
  for (int i = 0; i < Rows * 2; ++i) out[i] = _mm512_fmadd_ps(_mm512_set1_ps(*scale), sum[i], out[i]);
}

inline void accumulate_rows(const panel_args& a, std::int64_t tile, const std::byte* w, std::int64_t tiles,
                            const float* scale) {
  for (std::int64_t row = 0; row < a.rows;) {
    const auto* x = a.x + row / group_rows * a.x_group_bytes + row % group_rows * a.x_row_bytes + tile * a.x_tile_bytes;
    float* acc = a.acc + row * 32;
    const auto left = a.rows - row;
    if (left >= 8) {
      accumulate<8>(x, a, w, tiles, scale, acc), row += 8;
    } else if (left >= 4) {
      accumulate<4>(x, a, w, tiles, scale, acc), row += 4;
    } else {
      accumulate<1>(x, a, w, tiles, scale, acc), row += 1;
    }
  }
}

constexpr auto f8_tile_bytes = tile_bytes_of(tensor_type::f8_e4m3);

/// Few rows: unpacking and multiplying take turns tile by tile while the next tile is fetched, so that neither waits
/// for memory alone. The chains of sums are those of accumulate().
void stream_f8(const panel_args& a) {
  alignas(64) std::byte unpacked[tile_bytes_of(tensor_type::bf16)];
  alignas(64) float sums[2 * group_rows * 32];
  panel_args into_sums = a;
  into_sums.acc = sums;
  for (std::int64_t begin = 0; begin < a.tiles; begin += a.tiles_per_scale) {
    const auto end = begin + a.tiles_per_scale < a.tiles ? begin + a.tiles_per_scale : a.tiles;
    clear_sums(sums, a.rows);
    for (auto t = begin; t < end; ++t) {
      const auto* tile = a.weights + t * f8_tile_bytes;
      for (std::int64_t i = 0; i < f8_tile_bytes; i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(tile + f8_tile_bytes + i), _MM_HINT_T0);
      unpack_f8(tile, unpacked, 1);
      accumulate_rows(into_sums, t, unpacked, 1, nullptr);
    }
    add_scaled_sums(a.acc, sums, a.scales[begin / a.tiles_per_scale], a.rows * 2, a.fresh && begin == 0);
  }
}

} // namespace

namespace detail {

void panel_avx512_f32(const panel_args& a) { panel_float<f32_tiles>(a); }
void panel_avx512_bf16(const panel_args& a) { panel_float<bf16_tiles>(a); }
void panel_avx512_f8(const panel_args& a) { panel_float<f8_tiles>(a); }

void panel_vdpbf16_bf16(const panel_args& a) {
  if (a.fresh) clear_sums(a.acc, a.rows);
  accumulate_rows(a, 0, a.weights, a.tiles, nullptr);
}

void panel_vdpbf16_f8(const panel_args& a) {
  if (a.scales && a.rows <= 2 * group_rows) return stream_f8(a);
  if (a.fresh) clear_sums(a.acc, a.rows);
  alignas(64) std::byte unpacked[tiles_per_scale_max * tile_bytes_of(tensor_type::bf16)];
  const auto step = a.scales ? a.tiles_per_scale : 1;
  for (std::int64_t t = 0; t < a.tiles; t += step) {
    const auto count = a.tiles - t < step ? a.tiles - t : step;
    unpack_f8(a.weights + t * f8_tile_bytes, unpacked, count);
    accumulate_rows(a, t, unpacked, count, a.scales ? a.scales + t / step : nullptr);
  }
}

} // namespace detail
} // namespace troupe::kernels
