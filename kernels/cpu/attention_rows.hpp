// The parts of attention that are not products: softmax over a block of positions, and cached entries as weights.
// Lanes are (row, head) pairs, so every operation is vertical and a lane never sees its neighbours.
#pragma once

#include "kernels/cpu/panel.hpp"

#include <cstdint>

namespace troupe::kernels {

inline constexpr std::int64_t softmax_positions = 256; ///< one step of the online softmax; a multiple of the page
inline constexpr std::int64_t attention_lanes = 32;    ///< outputs of a panel of scores

/// One step of the online softmax over positions [first, first + count) for 32 lanes:
/// m' = max(m, max s), factor = exp(m - m'), p = exp(s - m'), l' = l factor + sum of p in position order.
struct softmax_args {
  float* scores = nullptr; ///< [count, 32] unscaled products; overwritten
  std::int64_t count = 0;  ///< a multiple of 32, at most softmax_positions
  float first = 0;         ///< position of the first score
  float scale = 1;
  const float* last_position = nullptr; ///< [32]: a lane sees positions up to and including this; -1 sees none
  float* maximum = nullptr;             ///< [32] in, out
  float* sum = nullptr;                 ///< [32] in, out
  float* factor = nullptr;              ///< [32] out
  std::byte* probabilities = nullptr;   ///< [2 groups of 16 lanes][tiles of 32 positions][16][32] activations, out
  std::int64_t group_bytes = 0;         ///< between the two groups
};
using softmax_kernel = void (*)(const softmax_args&);

/// Packs 32 rows of cached entries as weights [positions -> latent channels]: `blocks` tiles of 32 channels, the tile
/// of block b at tile + b * block_bytes. Rows from `valid` on become zero, whatever they hold. Rows are read front to
/// back: this is the pass that brings a page in from memory.
using pack_values_kernel = void (*)(const std::byte* rows, std::int64_t row_bytes, std::int64_t valid,
                                    std::int64_t blocks, std::byte* tile, std::int64_t block_bytes);

/// Packs `lanes` <= 32 rows of activations, `tiles` tiles long, as weights [input -> lane]; other lanes become zero.
using pack_queries_kernel = void (*)(const std::byte* rows, std::int64_t row_bytes, std::int64_t lanes,
                                     std::int64_t tiles, std::byte* to);

struct attention_kernels {
  softmax_kernel softmax;
  pack_values_kernel pack_values;
  pack_queries_kernel pack_queries;
};
attention_kernels attention_kernels_for(target t);

namespace detail {
void softmax_avx2_f32(const softmax_args&);
void softmax_avx2_bf16(const softmax_args&); // probabilities rounded to bf16, stored as f32
void softmax_avx512_f32(const softmax_args&);
void softmax_avx512_bf16(const softmax_args&); // probabilities stored as bf16
void pack_values_f32(const std::byte* rows, std::int64_t row_bytes, std::int64_t valid, std::int64_t blocks,
                     std::byte* tile, std::int64_t block_bytes);
void pack_values_bf16(const std::byte* rows, std::int64_t row_bytes, std::int64_t valid, std::int64_t blocks,
                      std::byte* tile, std::int64_t block_bytes);
void pack_queries_f32(const std::byte* rows, std::int64_t row_bytes, std::int64_t lanes, std::int64_t tiles,
                      std::byte* to);
void pack_queries_bf16(const std::byte* rows, std::int64_t row_bytes, std::int64_t lanes, std::int64_t tiles,
                       std::byte* to);
} // namespace detail

} // namespace troupe::kernels
