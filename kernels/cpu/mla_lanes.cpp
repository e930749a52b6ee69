// Math      S(s) = scale (q~ . c(s) + q_rope . k_rope(s)), s <= p;  z = softmax(S) c
// Shapes    scores [position, lane] = cache page as it lies x packed queries; probabilities go back to rows [lane,
//           position]; pages become weights [position -> channel] by interleaving neighbouring entries
// Roofline  decode: entry * element bytes a cached token, read once per 128 lanes
//           prefill: 2 (entry + latent) flop a lane and cached position, 2176 for R1
// Order     steps of 256 positions (online softmax) inside splits of 2048; what lies beyond a lane's last position adds
//           exact zeros
#include "kernels/cpu/mla_lanes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace troupe::kernels {
namespace {

constexpr std::int64_t pages_per_step = softmax_positions / cache_page_tokens;

/// The pages of one step as activations: in place when the cache holds what kernels read, else copied and padded.
struct staged_pages {
  const std::byte* page[pages_per_step];
  std::int64_t row_bytes;
};

const std::byte* widen_page(const attention_pass& pass, const std::byte* page, std::int64_t row_bytes, std::byte* to) {
  const auto entry_bytes = pass.entry_bytes();
  for (std::int64_t row = 0; row < cache_page_tokens; ++row) {
    auto* out = to + row * row_bytes;
    read_cache_entry(pass, page + row * entry_bytes, out);
    const auto used = pass.shape.entry() * pass.element_bytes;
    std::memset(out + used, 0, row_bytes - used);
  }
  return to;
}

staged_pages stage_pages(const attention_pass& pass, const mla_sequence& sequence, std::int64_t first,
                         std::int64_t end) {
  staged_pages staged;
  staged.row_bytes = pass.entry_tiles * tile_inputs * pass.element_bytes;
  const auto entry_bytes = pass.entry_bytes();
  const bool in_place = pass.format == cache_format::plain && entry_bytes == staged.row_bytes;
  const auto page_bytes = cache_page_tokens * staged.row_bytes;
  auto* copies = in_place ? nullptr : thread_scratch<std::byte>(pages_per_step * page_bytes, pages_slot);
  for (std::int64_t i = 0; i < pages_per_step && first + i * cache_page_tokens < end; ++i) {
    const auto number = sequence.pages[static_cast<std::size_t>(first / cache_page_tokens + i)];
    const auto* page = pass.cache + number * cache_page_tokens * entry_bytes;
    staged.page[i] = in_place ? page : widen_page(pass, page, staged.row_bytes, copies + i * page_bytes);
  }
  return staged;
}

/// scores [count, 32] = pages . queries of one block of lanes.
void multiply_scores(const attention_pass& pass, const staged_pages& pages, std::int64_t count,
                     const std::byte* queries, float* scores) {
  panel_args args;
  args.fresh = true;
  args.x_row_bytes = pages.row_bytes;
  args.x_group_bytes = group_rows * pages.row_bytes;
  args.x_tile_bytes = tile_inputs * pass.element_bytes;
  args.weights = queries;
  args.tiles = pass.entry_tiles;
  const auto kernel = panel_for(pass.t, activation_type(pass.t));
  for (std::int64_t at = 0; at < count; at += cache_page_tokens) {
    args.x = pages.page[at / cache_page_tokens];
    args.rows = std::min(cache_page_tokens, count - at);
    args.acc = scores + at * attention_lanes;
    kernel(args);
  }
}

/// latents of 32 channels = latents * factor + probabilities . values, for all lanes of the group. No `factor`: there
/// are no latents yet.
void multiply_values(const attention_pass& pass, const lane_group& group, const std::byte* probabilities,
                     std::int64_t tiles, const std::byte* values, const float* factor, float* latents) {
  for (std::int64_t lane = 0; factor && lane < group.lanes; ++lane) {
    if (factor[lane] == 1.0f) continue;
    for (std::int64_t i = 0; i < tile_outputs; ++i) latents[lane * tile_outputs + i] *= factor[lane];
  }
  panel_args args;
  args.x = probabilities;
  args.x_row_bytes = tile_inputs * pass.element_bytes;
  args.x_tile_bytes = group_rows * args.x_row_bytes;
  args.x_group_bytes = softmax_positions / tile_inputs * args.x_tile_bytes;
  args.rows = padded_rows(group.lanes);
  args.weights = values;
  args.tiles = tiles;
  args.acc = latents;
  args.fresh = !factor;
  panel_for(pass.t, activation_type(pass.t))(args);
}

/// One block of channels of a step's values. The extra line keeps blocks out of each other's cache sets while they are
/// written in turn.
std::int64_t value_block_bytes(const attention_pass& pass) {
  return softmax_positions / tile_inputs * tile_bytes_of(activation_type(pass.t)) + 64;
}

/// The pages of a step as weights, [latent blocks][tiles of 32 positions]. Comes first: it reads the cache in order.
std::byte* pack_step_values(const attention_pass& pass, const staged_pages& pages, std::int64_t valid) {
  const auto tile_bytes = tile_bytes_of(activation_type(pass.t)), block_bytes = value_block_bytes(pass);
  auto* values = thread_scratch<std::byte>(static_cast<std::size_t>(pass.latent_blocks * block_bytes), values_slot);
  for (std::int64_t at = 0; at < valid; at += tile_inputs) {
    const auto* rows = pages.page[at / cache_page_tokens] + at % cache_page_tokens * pages.row_bytes;
    attention_kernels_for(pass.t).pack_values(rows, pages.row_bytes, valid - at, pass.latent_blocks,
                                              values + at / tile_inputs * tile_bytes, block_bytes);
  }
  return values;
}

/// Scores and probabilities of all lanes of the group; `factor` receives what their latents shrink by.
std::byte* make_probabilities(const attention_pass& pass, const lane_group& group, const std::byte* queries,
                              const staged_pages& pages, std::int64_t first, std::int64_t count, lane_state& state,
                              float* factor) {
  const auto group_bytes = softmax_positions * group_rows * pass.element_bytes;
  auto* scores = thread_scratch<float>(softmax_positions * attention_lanes, scores_slot);
  auto* probabilities = thread_scratch<std::byte>(lanes_max / group_rows * group_bytes, probabilities_slot);
  for (std::int64_t lane = 0; lane < group.lanes; lane += attention_lanes) {
    multiply_scores(pass, pages, count, queries + lane / attention_lanes * pass.query_block_bytes(), scores);
    float last_position[attention_lanes];
    for (std::int64_t i = 0; i < attention_lanes; ++i) {
      const auto row = (group.first_lane + lane + i) / pass.shape.heads;
      last_position[i] = lane + i < group.lanes ? static_cast<float>(group.sequence->first_position + row) : -1.0f;
    }
    attention_kernels_for(pass.t).softmax({scores, count, static_cast<float>(first), pass.shape.scale, last_position,
                                           state.maximum + lane, state.sum + lane, factor + lane,
                                           probabilities + lane / group_rows * group_bytes, group_bytes});
  }
  return probabilities;
}

/// The group's queries packed as weights [entry -> lane], in blocks of 32 lanes.
std::byte* pack_queries(const attention_pass& pass, const lane_group& group) {
  const auto block_bytes = pass.query_block_bytes();
  auto* packed = thread_scratch<std::byte>(lanes_max / attention_lanes * block_bytes, queries_slot);
  for (std::int64_t lane = 0; lane < group.lanes; lane += attention_lanes)
    attention_kernels_for(pass.t).pack_queries(group.queries + lane * pass.query_bytes(), pass.query_bytes(),
                                               std::min(attention_lanes, group.lanes - lane), pass.entry_tiles,
                                               packed + lane / attention_lanes * block_bytes);
  return packed;
}

/// One step: positions [first, first + 256) that exist.
void attend_step(const attention_pass& pass, const lane_group& group, const std::byte* queries, std::int64_t first,
                 lane_state& state) {
  const auto end = group.end(pass.shape.heads);
  const auto valid = std::min(softmax_positions, end - first), count = round_up(valid, tile_inputs);
  const auto pages = stage_pages(pass, *group.sequence, first, end);
  const auto* values = pack_step_values(pass, pages, valid);
  float factor[lanes_max];
  const auto* probabilities = make_probabilities(pass, group, queries, pages, first, count, state, factor);
  for (std::int64_t block = 0; block < pass.latent_blocks; ++block)
    multiply_values(pass, group, probabilities, count / tile_inputs, values + block * value_block_bytes(pass),
                    first % split_positions == 0 ? nullptr : factor,
                    state.latents + block * padded_rows(group.lanes) * tile_outputs);
}

} // namespace

void lane_state::clear(std::int64_t floats) {
  std::fill_n(maximum, lanes_max, -std::numeric_limits<float>::infinity());
  std::fill_n(sum, lanes_max, 0.0f);
  std::fill_n(latents, floats, 0.0f);
}

std::int64_t latent_floats(const attention_pass& pass, std::int64_t lanes) {
  return pass.latent_blocks * padded_rows(lanes) * tile_outputs;
}

void attend_split(const attention_pass& pass, const lane_group& group, std::int64_t split, lane_state& state) {
  state.clear(0); // the first step writes the latents
  const auto* queries = pack_queries(pass, group);
  const auto end = std::min((split + 1) * split_positions, group.end(pass.shape.heads));
  for (auto first = split * split_positions; first < end; first += softmax_positions)
    attend_step(pass, group, queries, first, state);
}

void merge(const attention_pass& pass, const lane_group& group, const lane_state& split, lane_state& total) {
  for (std::int64_t lane = 0; lane < group.lanes; ++lane) {
    const float maximum = std::max(total.maximum[lane], split.maximum[lane]);
    const float mine = std::exp(total.maximum[lane] - maximum), theirs = std::exp(split.maximum[lane] - maximum);
    total.maximum[lane] = maximum;
    total.sum[lane] = total.sum[lane] * mine + split.sum[lane] * theirs;
    for (std::int64_t block = 0; block < pass.latent_blocks; ++block) {
      const auto at = (block * padded_rows(group.lanes) + lane) * tile_outputs;
      for (auto i = at; i < at + tile_outputs; ++i)
        total.latents[i] = total.latents[i] * mine + split.latents[i] * theirs;
    }
  }
}

void finish(const attention_pass& pass, const lane_group& group, const lane_state& total, std::span<packed_rows> z) {
  const auto heads = pass.shape.heads;
  float factor[lanes_max];
  for (std::int64_t lane = 0; lane < group.lanes; ++lane) factor[lane] = 1.0f / total.sum[lane];
  const auto* from = total.latents;
  for (std::int64_t block = 0; block < pass.latent_blocks; ++block) {
    const auto width = std::min(tile_outputs, pass.shape.latent - block * tile_outputs);
    auto row = group.sequence->first_row + group.first_lane / heads, head = group.first_lane % heads;
    for (std::int64_t lane = 0; lane < group.lanes; ++lane, from += tile_outputs) {
      float values[tile_outputs];
      // + 0: a step that was skipped may leave -0 where one that ran leaves +0.
      for (std::int64_t i = 0; i < tile_outputs; ++i) values[i] = from[i] * factor[lane] + 0.0f;
      std::fill(values + width, values + tile_outputs, 0.0f);
      z[static_cast<std::size_t>(head)].write_piece(row, block, values);
      if (++head == heads) head = 0, ++row;
    }
    from += (padded_rows(group.lanes) - group.lanes) * tile_outputs;
  }
}

} // namespace troupe::kernels
