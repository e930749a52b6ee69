// Panel kernels for AMX: tdpbf16ps on 16 x 32 by 32 x 16 tiles, two groups of rows by two halves of outputs at a time.
// The same instructions run for one row (tiles configured with one row) and for five hundred.
#include "kernels/cpu/pairs.hpp"

namespace troupe::kernels {
namespace {

// Tile registers: 0..3 sums (group, half), 4..5 activations of a group, 6..7 weights of a half.
struct alignas(64) tile_config {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14]{};
  std::uint16_t bytes_per_row[16]{};
  std::uint8_t rows[16]{};
};

// g++'s tile intrinsics are asm statements that do not say which memory they read: everything stored to `p` must be
// in memory before the first of them.
inline void make_visible(const void* p) { __asm__ volatile("" ::"r"(p) : "memory"); }

void configure(std::int64_t rows) {
  tile_config config;
  for (int i = 0; i < 8; ++i) {
    config.bytes_per_row[i] = 64;
    config.rows[i] = static_cast<std::uint8_t>(i < 6 ? rows : 16);
  }
  make_visible(&config);
  _tile_loadconfig(&config);
}

constexpr std::int64_t acc_row_bytes = 32 * sizeof(float);

/// acc (16 rows per group) = start + x w over `tiles` bf16 tiles; start is acc itself or zero.
template <int Groups>
inline void multiply_groups(const std::byte* x, const panel_args& a, const std::byte* w, std::int64_t tiles,
                            bool from_zero, float* acc) {
  float* second = acc + group_rows * 32;
  if (from_zero) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Groups == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
  } else {
    _tile_loadd(0, acc, acc_row_bytes);
    _tile_loadd(1, acc + 16, acc_row_bytes);
    if constexpr (Groups == 2) {
      _tile_loadd(2, second, acc_row_bytes);
      _tile_loadd(3, second + 16, acc_row_bytes);
    }
  }
  for (std::int64_t t = 0; t < tiles; ++t, x += a.x_tile_bytes, w += tile_bytes_of(tensor_type::bf16)) {
    _tile_loadd(6, w, 64);
    _tile_loadd(4, x, a.x_row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + 1024, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Groups == 2) {
      _tile_loadd(5, x + a.x_group_bytes, a.x_row_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, acc, acc_row_bytes);
  _tile_stored(1, acc + 16, acc_row_bytes);
  if constexpr (Groups == 2) {
    _tile_stored(2, second, acc_row_bytes);
    _tile_stored(3, second + 16, acc_row_bytes);
  }
}

template <int Groups>
inline void accumulate(const panel_args& a, std::int64_t row, std::int64_t tile, const std::byte* w, std::int64_t tiles,
                       const float* scale) {
  const auto* x = a.x + row / group_rows * a.x_group_bytes + tile * a.x_tile_bytes;
  float* acc = a.acc + row * 32;
  if (!scale) return multiply_groups<Groups>(x, a, w, tiles, false, acc);
  alignas(64) float sum[Groups * group_rows * 32];
  multiply_groups<Groups>(x, a, w, tiles, true, sum);
  const auto rows = a.rows - row < Groups * group_rows ? a.rows - row : Groups * group_rows;
  add_scaled_sums(acc, sum, *scale, rows * 2);
}

inline void accumulate_rows(const panel_args& a, std::int64_t tile, const std::byte* w, std::int64_t tiles,
                            const float* scale) {
  std::int64_t row = 0;
  for (; row + 2 * group_rows <= a.rows; row += 2 * group_rows) accumulate<2>(a, row, tile, w, tiles, scale);
  if (row < a.rows) accumulate<1>(a, row, tile, w, tiles, scale);
}

} // namespace

namespace detail {

void panel_amx_bf16(const panel_args& a) {
  configure(a.rows < group_rows ? a.rows : group_rows);
  make_visible(a.acc);
  accumulate_rows(a, 0, a.weights, a.tiles, nullptr);
  _tile_release();
}

void panel_amx_f8(const panel_args& a) {
  configure(a.rows < group_rows ? a.rows : group_rows);
  alignas(64) std::byte unpacked[2][tiles_per_scale_max * tile_bytes_of(tensor_type::bf16)];
  const auto step = a.scales ? a.tiles_per_scale : 1;
  for (std::int64_t t = 0, turn = 0; t < a.tiles; t += step, turn ^= 1) {
    const auto count = a.tiles - t < step ? a.tiles - t : step;
    unpack_f8(a.weights + t * tile_bytes_of(tensor_type::f8_e4m3), unpacked[turn], count);
    make_visible(unpacked);
    accumulate_rows(a, t, unpacked[turn], count, a.scales ? a.scales + t / step : nullptr);
  }
  _tile_release();
}

} // namespace detail
} // namespace troupe::kernels
