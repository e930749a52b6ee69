// The one inner product of the CPU engine: rows of activations times a block of 32 outputs of packed weights.
// Matrices, experts and both products of attention are calls of a panel kernel; an instruction set is one such kernel.
// Packed weights are tiles of 32 inputs x 32 outputs, stored in the order the kernels read them (offset_in_tile).
#pragma once

#include "kernels/cpu/isa.hpp"
#include "kernels/tensor_type.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace troupe::kernels {

inline constexpr std::int64_t tile_inputs = 32;
inline constexpr std::int64_t tile_outputs = 32;
inline constexpr std::int64_t group_rows = 16; ///< rows of activations that share a tile

/// acc[r, 0..31] += sum over scale blocks b of scales[b] * ( sum over the inputs of b of x[r, k] w[k, 0..31] ).
/// Inner sums run in input order from zero; without scales there is one sum, which starts from acc, so a call over all
/// tiles equals several calls over consecutive tiles bit for bit.
struct panel_args {
  const std::byte* x = nullptr;       ///< row 0, first input
  std::int64_t x_row_bytes = 0;       ///< between rows of a group
  std::int64_t x_group_bytes = 0;     ///< between groups of 16 rows
  std::int64_t x_tile_bytes = 0;      ///< between tiles of 32 inputs
  std::int64_t rows = 0;              ///< 1..16, or a multiple of 16
  const std::byte* weights = nullptr; ///< `tiles` consecutive tiles, 64-byte aligned
  std::int64_t tiles = 0;
  const float* scales = nullptr; ///< one for every tiles_per_scale tiles, or null; FP8 only
  std::int64_t tiles_per_scale = 0;
  const std::byte* next = nullptr; ///< weights of the call that follows, fetched meanwhile; may be null
  float* acc = nullptr;            ///< [rows, 32], 64-byte aligned
  bool fresh = false;              ///< acc counts as zero, whatever it holds
};

using panel_kernel = void (*)(const panel_args&);

/// What kernels for `t` read activations as: bf16, or f32 (float32 compute, and AVX2, which has no bf16 product).
tensor_type activation_type(target t);
/// The kernel for weights stored as `stored` (f32 or bf16 as activation_type allows, or f8_e4m3).
panel_kernel panel_for(target t, tensor_type stored);

/// Tiles in a scale block divide this; FP8 with other blocks is dequantised at load.
inline constexpr std::int64_t tiles_per_scale_max = 8;

/// Byte offset of element (input k, output o), both 0..31, inside a packed tile.
constexpr std::int64_t offset_in_tile(tensor_type stored, std::int64_t k, std::int64_t o) {
  const std::int64_t half = o / 16, lane = o % 16, pair = k / 2;
  switch (stored) {
  // 32 vectors of 32 outputs.
  case tensor_type::f32: return (k * 32 + o) * 4;
  // Two halves of 16 outputs; in each 16 vectors of 16 pairs of inputs: an AMX B tile, and vdpbf16ps's operand.
  case tensor_type::bf16:
  case tensor_type::f16: return half * 1024 + pair * 64 + lane * 4 + k % 2 * 2;
  // As bf16, but every two vectors (64 bytes) are interleaved by 8 bytes, as vpunpck[lh]bw wants them.
  case tensor_type::f8_e4m3: return half * 512 + pair / 2 * 64 + lane / 4 * 16 + pair % 2 * 8 + lane % 4 * 2 + k % 2;
  }
  return 0;
}

constexpr std::int64_t tile_bytes_of(tensor_type stored) {
  return tile_inputs * tile_outputs * static_cast<std::int64_t>(bytes_of(stored));
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }
/// Copies the first `width` of each of `rows` rows of 32 sums to rows `stride` floats apart.
inline void copy_sums(const float* acc, std::int64_t rows, std::int64_t width, float* to, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r, acc += tile_outputs, to += stride) {
    if (width == tile_outputs) {
      std::memcpy(to, acc, tile_outputs * sizeof(float)); // its size is known: no call
    } else {
      std::memcpy(to, acc, static_cast<std::size_t>(width) * sizeof(float));
    }
  }
}

/// Rows a panel computes for n rows of input.
constexpr std::int64_t padded_rows(std::int64_t n) { return n < group_rows ? n : round_up(n, group_rows); }

/// AMX tiles stay configured between panels. A thread calls this before other code of its own that uses AMX.
void release_tiles();

namespace detail {
// One per instruction set file; `stored` as in panel_for.
void panel_avx2_f32(const panel_args&);
void panel_avx2_bf16(const panel_args&);
void panel_avx2_f8(const panel_args&);
void panel_avx512_f32(const panel_args&);
void panel_avx512_bf16(const panel_args&);
void panel_avx512_f8(const panel_args&);
void panel_vdpbf16_bf16(const panel_args&);
void panel_vdpbf16_f8(const panel_args&);
void panel_amx_bf16(const panel_args&);
void panel_amx_f8(const panel_args&);
} // namespace detail

} // namespace troupe::kernels
