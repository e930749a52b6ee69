// Math      acc[r, o] += sum_k x[r, k] w[k, o], bf16 products, fp32 sums (tdpbf16ps); FP8: scaled per block in fp32
// Shapes    x tiles [<= 16 rows][32], w tiles [16 pairs][16 outputs] x 2; two groups of rows at a time
// Roofline  1024 flop a cycle and core; one row reads 2 KB (bf16) or 1 KB (FP8) of weights a tile, memory-bound
// Order     the same instructions run for one row (tiles configured with one row) and for five hundred
// Measured  one Sapphire Rapids-class core, 3.5 GHz: one row 15.1 GB/s bf16, 13.1 FP8 of 17.6 STREAM; 512 rows
//           1.15 TFLOP/s of 2.7 from L1 (sums of a slice to and from L2 cost the rest), oneDNN 0.54-0.83
//           96 rows: 2.1 with weights in L2, 1.0 with weights from memory (the prefetch has 16 line buffers)
// Rejected  unpacking FP8 a scale block at a time for few rows (9 GB/s: unpacking and memory take turns), or a tile
//           ahead (-10 %); prefetching 8 KB ahead (fills the line buffers, -40 %), or activations from L2 (no gain);
//           prefetching the next slice at once (-30 %), a few lines a product (-20 %), or every second line (-15 %)
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

/// Rows this thread's tiles are configured for, 0 for none. Configuring drains the tile unit, a tenth of a panel of 96
/// rows, so they stay as they are until a panel has other rows.
thread_local std::int64_t configured_rows = 0;

void configure(std::int64_t rows) {
  if (rows == configured_rows) return;
  configured_rows = rows;
  tile_config config;
  for (int i = 0; i < 8; ++i) {
    config.bytes_per_row[i] = 64;
    config.rows[i] = static_cast<std::uint8_t>(i < 6 ? rows : 16);
  }
  make_visible(&config);
  _tile_loadconfig(&config);
}

constexpr std::int64_t acc_row_bytes = 32 * sizeof(float);
constexpr auto pair_tile_bytes = tile_bytes_of(tensor_type::bf16);

/// Sums of up to two groups, in registers: from zero, from memory, to memory.
template <int Groups>
inline void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (Groups == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
}

template <int Groups>
inline void load_sums(const float* acc) {
  _tile_loadd(0, acc, acc_row_bytes);
  _tile_loadd(1, acc + 16, acc_row_bytes);
  if constexpr (Groups == 2) {
    _tile_loadd(2, acc + group_rows * 32, acc_row_bytes);
    _tile_loadd(3, acc + group_rows * 32 + 16, acc_row_bytes);
  }
}

template <int Groups>
inline void store_sums(float* acc) {
  _tile_stored(0, acc, acc_row_bytes);
  _tile_stored(1, acc + 16, acc_row_bytes);
  if constexpr (Groups == 2) {
    _tile_stored(2, acc + group_rows * 32, acc_row_bytes);
    _tile_stored(3, acc + group_rows * 32 + 16, acc_row_bytes);
  }
}

/// Adds the products of one tile of 32 inputs.
template <int Groups>
inline void multiply_tile(const std::byte* x, const panel_args& a, const std::byte* w) {
  _tile_loadd(6, w, 64);
  _tile_loadd(4, x, a.x_row_bytes);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, w + pair_tile_bytes / 2, 64);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (Groups == 2) {
    _tile_loadd(5, x + a.x_group_bytes, a.x_row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// How weights become bf16 tiles.
struct bf16_weights {
  static constexpr bool packed = false;
  static constexpr auto tile_bytes = tile_bytes_of(tensor_type::bf16);
  static const std::byte* unpack(const std::byte* from, std::byte*, std::int64_t) { return from; }
};
struct f8_weights {
  static constexpr bool packed = true;
  static constexpr auto tile_bytes = tile_bytes_of(tensor_type::f8_e4m3);
  static const std::byte* unpack(const std::byte* from, std::byte* to, std::int64_t tiles) {
    unpack_f8(from, to, tiles);
    make_visible(to);
    return to;
  }
};

template <auto Cache>
inline void prefetch(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(from + i), Cache);
}

template <int Groups>
inline void add_scaled(const panel_args& a, std::int64_t row, float scale, bool fresh) {
  alignas(64) float sum[Groups * group_rows * 32];
  store_sums<Groups>(sum);
  const auto rows = a.rows - row < Groups * group_rows ? a.rows - row : Groups * group_rows;
  add_scaled_sums(a.acc + row * 32, sum, scale, rows * 2, fresh);
}

/// Up to 32 rows: the weights stream past the sums. Unpacking and multiplying take turns tile by tile, and the next
/// tile is fetched meanwhile: together 0.9 of a plain read loop, where unpacking a scale block at a time gets 0.6.
template <int Groups, class Weights>
void stream_weights(const panel_args& a) {
  alignas(64) std::byte unpacked[2][pair_tile_bytes];
  const auto step = a.scales ? a.tiles_per_scale : a.tiles;
  for (std::int64_t begin = 0; begin < a.tiles; begin += step) {
    const auto end = begin + step < a.tiles ? begin + step : a.tiles;
    if (a.scales || a.fresh) {
      clear_sums<Groups>();
    } else {
      load_sums<Groups>(a.acc);
    }
    for (auto t = begin; t < end; ++t) {
      const auto* tile = a.weights + t * Weights::tile_bytes;
      prefetch<_MM_HINT_T0>(tile + Weights::tile_bytes, Weights::tile_bytes);
      multiply_tile<Groups>(a.x + t * a.x_tile_bytes, a, Weights::unpack(tile, unpacked[t % 2], 1));
    }
    if (a.scales) {
      add_scaled<Groups>(a, 0, a.scales[begin / step], a.fresh && begin == 0);
    } else {
      store_sums<Groups>(a.acc);
    }
  }
}

/// The sums of up to two groups over consecutive unpacked tiles.
template <int Groups>
inline void multiply_groups(const panel_args& a, std::int64_t row, std::int64_t tile, const std::byte* w,
                            std::int64_t tiles, const float* scale, const std::byte*& next, std::int64_t share) {
  const auto* x = a.x + row / group_rows * a.x_group_bytes + tile * a.x_tile_bytes;
  const bool fresh = a.fresh && tile == 0;
  if (scale || fresh) {
    clear_sums<Groups>();
  } else {
    load_sums<Groups>(a.acc + row * 32);
  }
  for (std::int64_t t = 0; t < tiles; ++t, x += a.x_tile_bytes, w += pair_tile_bytes) {
    multiply_tile<Groups>(x, a, w);
    if (next) prefetch<_MM_HINT_T1>(next, share), next += share;
  }
  if (scale) {
    add_scaled<Groups>(a, row, *scale, fresh);
  } else {
    store_sums<Groups>(a.acc + row * 32);
  }
}

/// Many rows: a scale block of weights (of bf16 all there are) stays in L1 while the rows stream past.
template <class Weights>
void stream_rows(const panel_args& a) {
  alignas(64) std::byte unpacked[tiles_per_scale_max * pair_tile_bytes];
  const auto step = a.scales ? a.tiles_per_scale : Weights::packed ? tiles_per_scale_max : a.tiles;
  const auto bytes = a.tiles * Weights::tile_bytes;
  const auto share = round_up(ceil_div(bytes * 2 * group_rows, a.rows * a.tiles), 64);
  const auto* next = a.next;
  for (std::int64_t t = 0; t < a.tiles; t += step) {
    const auto tiles = a.tiles - t < step ? a.tiles - t : step;
    const auto* w = Weights::unpack(a.weights + t * Weights::tile_bytes, unpacked, tiles);
    const float* scale = a.scales ? a.scales + t / step : nullptr;
    for (std::int64_t row = 0; row < a.rows; row += 2 * group_rows) {
      if (row + group_rows < a.rows) {
        multiply_groups<2>(a, row, t, w, tiles, scale, next, share);
      } else {
        multiply_groups<1>(a, row, t, w, tiles, scale, next, share);
      }
    }
  }
}

template <class Weights>
void panel(const panel_args& a) {
  configure(a.rows < group_rows ? a.rows : group_rows);
  make_visible(a.acc);
  if (a.rows <= group_rows) {
    stream_weights<1, Weights>(a);
  } else if (a.rows == 2 * group_rows) {
    stream_weights<2, Weights>(a);
  } else {
    stream_rows<Weights>(a);
  }
}

} // namespace

void release_tiles() {
  if (configured_rows == 0) return;
  _tile_release();
  configured_rows = 0;
}

void detail::panel_amx_bf16(const panel_args& a) { panel<bf16_weights>(a); }
void detail::panel_amx_f8(const panel_args& a) { panel<f8_weights>(a); }

} // namespace troupe::kernels
