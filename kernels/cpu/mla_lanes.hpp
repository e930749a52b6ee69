// The inside of absorbed attention: what happens to up to 128 lanes of one sequence over a range of positions.
// A lane is a (row, head) pair; lanes never see each other, and all boundaries are positions of the sequence, so a
// lane's bits do not depend on which lanes or tasks it shares work with. Internal to mla_attention.
#pragma once

#include "kernels/cpu/attention_rows.hpp"
#include "kernels/cpu/mla_attention.hpp"

#include <cstdint>

namespace troupe::kernels {

inline constexpr std::int64_t split_positions = 2048; ///< softmax starts afresh here; splits are merged in order
inline constexpr std::int64_t lanes_max = 128;        ///< of one task: its attended latents are 256 KB of L2
static_assert(split_positions % softmax_positions == 0 && softmax_positions % cache_page_tokens == 0);

enum scratch_slot { scores_slot, probabilities_slot, values_slot, pages_slot, split_slot, total_slot, queries_slot };

/// What all tasks of a call share.
struct attention_pass {
  const mla_shape& shape;
  target t;
  const std::byte* cache;
  cache_format format;        ///< of its entries
  std::int64_t element_bytes; ///< of activations
  std::int64_t entry_tiles;
  std::int64_t latent_blocks;

  attention_pass(const mla_shape& s, target tt, const std::byte* c, cache_format f)
      : shape(s), t(tt), cache(c), format(f), element_bytes(static_cast<std::int64_t>(bytes_of(activation_type(tt)))),
        entry_tiles(ceil_div(s.entry(), tile_inputs)), latent_blocks(ceil_div(s.latent, tile_outputs)) {}

  std::int64_t entry_bytes() const { return cache_entry_bytes(shape, {t.compute, format}); }
  std::int64_t query_bytes() const { return entry_tiles * tile_inputs * element_bytes; }
  /// Of 32 queries packed as weights.
  std::int64_t query_block_bytes() const { return entry_tiles * tile_bytes_of(activation_type(t)); }
};

/// The channels of a cached entry as activations, [latent | rope] of pass.element_bytes each.
void read_cache_entry(const attention_pass& pass, const std::byte* from, std::byte* to);

/// Up to lanes_max consecutive lanes of one sequence.
struct lane_group {
  const mla_sequence* sequence;
  std::int64_t first_lane; ///< of the sequence; lane = row * heads + head
  std::int64_t lanes;
  const std::byte* queries; ///< [lanes][query_bytes]

  /// Positions its last row sees, and the splits they are in.
  std::int64_t end(std::int64_t heads) const { return sequence->first_position + (first_lane + lanes - 1) / heads + 1; }
  std::int64_t splits(std::int64_t heads) const { return ceil_div(end(heads), split_positions); }
};

/// Softmax state and attended latents of a group over some positions.
struct lane_state {
  float maximum[lanes_max];
  float sum[lanes_max];
  float* latents; ///< [latent blocks][padded lanes][32], 64-byte aligned

  /// Nothing seen yet; `floats` of the latents become zero.
  void clear(std::int64_t floats);
};

/// Floats of lane_state::latents for that many lanes.
std::int64_t latent_floats(const attention_pass& pass, std::int64_t lanes);

/// state = attention over the positions of one split.
void attend_split(const attention_pass& pass, const lane_group& group, std::int64_t split, lane_state& state);
/// total = total + split. A split no position of which a lane sees changes nothing.
void merge(const attention_pass& pass, const lane_group& group, const lane_state& split, lane_state& total);
/// Stores latents / sum as row `row` of z[head].
void finish(const attention_pass& pass, const lane_group& group, const lane_state& total, std::span<packed_rows> z);

} // namespace troupe::kernels
