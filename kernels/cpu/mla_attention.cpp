// Math      q~ = q_nope W_UK;  S(s) = scale (q~ . c(s) + q_rope . k_rope(s)), s <= p;  z = softmax(S) c;  o = z W_UVᵀ
// Shapes    a lane is a (row, head) pair; 32 lanes are one block of outputs. q~ is packed as weights [entry -> lane]
// and
//           multiplied by pages as they lie in the cache; probabilities are rows again and pages become weights
//           [position -> channel] by interleaving neighbouring entries.
// Roofline  decode: entry * bytes a cached token, read once per 128 lanes, at the STREAM figure; prefill: per lane and
//           cached position 2 (entry + latent) flop = 2176 for R1
// Mapping   tasks: (head, 128 rows) for the two projections; (up to 128 lanes of a sequence [, 2048 positions]) between
// Order     positions in steps of 256 (online softmax), steps in splits of 2048 that start afresh and are merged in
//           order. All boundaries are positions, so a lane's bits do not depend on chunk, batch or threads: steps and
//           splits beyond a lane's last position add exact zeros.
#include "kernels/cpu/mla_attention.hpp"

#include "kernels/cpu/attention_rows.hpp"
#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/check.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace troupe::kernels {
namespace {

constexpr std::int64_t split_positions = 2048;
constexpr std::int64_t lanes_max = 128; // of one task: its attended latents are 256 KB of L2
constexpr std::int64_t rows_per_projection = 128;
constexpr std::int64_t partials_bytes_max = std::int64_t{256} << 20;
constexpr std::int64_t pages_per_step = softmax_positions / cache_page_tokens;
static_assert(split_positions % softmax_positions == 0 && softmax_positions % cache_page_tokens == 0);

enum scratch_slot { scores_slot, probabilities_slot, values_slot, pages_slot, split_slot, total_slot };

/// What all tasks of a call share.
struct attention_pass {
  const mla_shape& shape;
  target t;
  const std::byte* cache;
  std::int64_t element_bytes; ///< of activations
  std::int64_t entry_tiles;
  std::int64_t latent_blocks;

  attention_pass(const mla_shape& s, target tt, const std::byte* c)
      : shape(s), t(tt), cache(c), element_bytes(static_cast<std::int64_t>(bytes_of(activation_type(tt)))),
        entry_tiles(ceil_div(s.entry(), tile_inputs)), latent_blocks(ceil_div(s.latent, tile_outputs)) {}

  std::int64_t query_block_bytes() const { return entry_tiles * tile_bytes_of(activation_type(t)); }
};

/// Up to lanes_max consecutive lanes of one sequence.
struct lane_group {
  const mla_sequence* sequence;
  std::int64_t first_lane; ///< of the sequence; lane = row * heads + head
  std::int64_t lanes;
  const std::byte* queries; ///< packed blocks of 32 lanes

  std::int64_t end(std::int64_t heads) const { ///< positions its last row sees
    return sequence->first_position + (first_lane + lanes - 1) / heads + 1;
  }
};

/// Softmax state and attended latents of a group over some positions.
struct lane_state {
  float maximum[lanes_max];
  float sum[lanes_max];
  float* latents; ///< [latent blocks][padded lanes][32]

  void clear(std::int64_t floats) {
    std::fill_n(maximum, lanes_max, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, lanes_max, 0.0f);
    std::fill_n(latents, floats, 0.0f);
  }
};

std::int64_t latent_floats(const attention_pass& pass, const lane_group& group) {
  return pass.latent_blocks * padded_rows(group.lanes) * tile_outputs;
}

/// The pages of one step as activations: in place when the cache holds what kernels read, else copied and padded.
struct staged_pages {
  const std::byte* page[pages_per_step];
  std::int64_t row_bytes;
};

const std::byte* widen_page(const attention_pass& pass, const std::byte* page, std::int64_t row_bytes, std::byte* to) {
  const auto entry_bytes = cache_entry_bytes(pass.shape, pass.t.compute);
  const bool convert = pass.t.compute == compute_type::bfloat16 && pass.element_bytes == 4;
  for (std::int64_t row = 0; row < cache_page_tokens; ++row) {
    const auto* from = page + row * entry_bytes;
    auto* out = to + row * row_bytes;
    if (convert) {
      for (std::int64_t i = 0; i < pass.shape.entry(); ++i)
        reinterpret_cast<float*>(out)[i] = bf16_to_float(reinterpret_cast<const std::uint16_t*>(from)[i]);
    } else {
      std::memcpy(out, from, entry_bytes);
    }
    const auto used = pass.shape.entry() * pass.element_bytes;
    std::memset(out + used, 0, row_bytes - used);
  }
  return to;
}

staged_pages stage_pages(const attention_pass& pass, const mla_sequence& sequence, std::int64_t first,
                         std::int64_t end) {
  staged_pages staged;
  staged.row_bytes = pass.entry_tiles * tile_inputs * pass.element_bytes;
  const auto entry_bytes = cache_entry_bytes(pass.shape, pass.t.compute);
  const bool in_place = entry_bytes == staged.row_bytes;
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
  std::fill_n(scores, count * attention_lanes, 0.0f);
  panel_args args;
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

/// latents of 32 channels = latents * factor + probabilities . values, for all lanes of the group.
void multiply_values(const attention_pass& pass, const lane_group& group, const std::byte* probabilities,
                     std::int64_t tiles, const std::byte* values, const float* factor, float* latents) {
  for (std::int64_t lane = 0; lane < group.lanes; ++lane) {
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
std::byte* make_probabilities(const attention_pass& pass, const lane_group& group, const staged_pages& pages,
                              std::int64_t first, std::int64_t count, lane_state& state, float* factor) {
  const auto group_bytes = softmax_positions * group_rows * pass.element_bytes;
  auto* scores = thread_scratch<float>(softmax_positions * attention_lanes, scores_slot);
  auto* probabilities = thread_scratch<std::byte>(lanes_max / group_rows * group_bytes, probabilities_slot);
  for (std::int64_t lane = 0; lane < group.lanes; lane += attention_lanes) {
    multiply_scores(pass, pages, count, group.queries + lane / attention_lanes * pass.query_block_bytes(), scores);
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

/// One step: positions [first, first + 256) that exist.
void attend_step(const attention_pass& pass, const lane_group& group, std::int64_t first, lane_state& state) {
  const auto end = group.end(pass.shape.heads);
  const auto valid = std::min(softmax_positions, end - first), count = round_up(valid, tile_inputs);
  const auto pages = stage_pages(pass, *group.sequence, first, end);
  const auto* values = pack_step_values(pass, pages, valid);
  float factor[lanes_max];
  const auto* probabilities = make_probabilities(pass, group, pages, first, count, state, factor);
  for (std::int64_t block = 0; block < pass.latent_blocks; ++block)
    multiply_values(pass, group, probabilities, count / tile_inputs, values + block * value_block_bytes(pass), factor,
                    state.latents + block * padded_rows(group.lanes) * tile_outputs);
}

void attend_split(const attention_pass& pass, const lane_group& group, std::int64_t split, lane_state& state) {
  state.clear(latent_floats(pass, group));
  const auto end = std::min((split + 1) * split_positions, group.end(pass.shape.heads));
  for (auto first = split * split_positions; first < end; first += softmax_positions)
    attend_step(pass, group, first, state);
}

/// total = total + split, both relative to the larger maximum. A split no position of which a lane sees changes
/// nothing.
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

/// Writes z = latents / sum, [row, head, latent].
void finish(const attention_pass& pass, const lane_group& group, const lane_state& total, float* z) {
  const auto latent = pass.shape.latent;
  for (std::int64_t lane = 0; lane < group.lanes; ++lane) {
    auto* out = z + (group.sequence->first_row * pass.shape.heads + group.first_lane + lane) * latent;
    const float factor = 1.0f / total.sum[lane];
    for (std::int64_t block = 0; block < pass.latent_blocks; ++block) {
      const auto* from = total.latents + (block * padded_rows(group.lanes) + lane) * tile_outputs;
      const auto channel = block * tile_outputs, width = std::min(tile_outputs, latent - channel);
      // + 0: a step that was skipped may leave -0 where one that ran leaves +0.
      for (std::int64_t i = 0; i < width; ++i) out[channel + i] = from[i] * factor + 0.0f;
    }
  }
}

std::int64_t splits_of(const lane_group& group, std::int64_t heads) {
  return ceil_div(group.end(heads), split_positions);
}

/// All splits of a group in one task.
void attend_group(const attention_pass& pass, const lane_group& group, float* z) {
  const auto floats = latent_floats(pass, group);
  const auto splits = splits_of(group, pass.shape.heads);
  lane_state total, split;
  split.latents = thread_scratch<float>(static_cast<std::size_t>(floats), split_slot);
  attend_split(pass, group, 0, split);
  if (splits == 1) return finish(pass, group, split, z); // merging it into nothing would give the same bits
  total.latents = thread_scratch<float>(static_cast<std::size_t>(floats), total_slot);
  total.clear(floats);
  merge(pass, group, split, total);
  for (std::int64_t s = 1; s < splits; ++s) {
    attend_split(pass, group, s, split);
    merge(pass, group, split, total);
  }
  finish(pass, group, total, z);
}

/// Few groups with long contexts: every split is a task, and the merge is the same as in attend_group.
void attend_splits_apart(thread_pool& pool, const attention_pass& pass, std::span<const lane_group> groups, float* z) {
  std::vector<std::pair<const lane_group*, std::int64_t>> tasks;
  for (const auto& group : groups)
    for (std::int64_t s = 0; s < splits_of(group, pass.shape.heads); ++s) tasks.emplace_back(&group, s);
  std::vector<lane_state> states(tasks.size());
  const auto floats_max = pass.latent_blocks * lanes_max * tile_outputs;
  const buffer memory(tasks.size() * static_cast<std::size_t>(floats_max) * sizeof(float));
  pool.parallel_for(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    states[i].latents = memory.as<float>() + i * floats_max;
    attend_split(pass, *tasks[i].first, tasks[i].second, states[i]);
  });
  std::size_t next = 0;
  for (const auto& group : groups) {
    lane_state total;
    total.latents = thread_scratch<float>(static_cast<std::size_t>(floats_max), total_slot);
    total.clear(latent_floats(pass, group));
    for (std::int64_t s = 0; s < splits_of(group, pass.shape.heads); ++s) merge(pass, group, states[next++], total);
    finish(pass, group, total, z);
  }
}

void attend(thread_pool& pool, const attention_pass& pass, std::span<const lane_group> groups, float* z) {
  std::int64_t splits = 0;
  for (const auto& group : groups) splits += splits_of(group, pass.shape.heads);
  const auto bytes = splits * pass.latent_blocks * lanes_max * tile_outputs * static_cast<std::int64_t>(sizeof(float));
  const auto count = static_cast<std::int64_t>(groups.size());
  if (count < 2 * pool.size() && splits > count && bytes <= partials_bytes_max) {
    attend_splits_apart(pool, pass, groups, z);
  } else {
    pool.parallel_for(count, [&](std::int64_t i) { attend_group(pass, groups[static_cast<std::size_t>(i)], z); });
  }
}

/// Lanes of all sequences, each sequence starting a new block of 32; groups of `blocks` blocks.
struct lane_plan {
  std::vector<std::int64_t> lane_of_row; ///< first lane of a batch row; -1: in no sequence
  std::vector<lane_group> groups;
  std::int64_t blocks = 0;

  lane_plan(std::span<const mla_sequence> sequences, std::int64_t heads, int threads) {
    std::int64_t rows = 0;
    for (const auto& s : sequences) rows = std::max(rows, s.first_row + s.rows), blocks += lane_blocks(s, heads);
    lane_of_row.assign(static_cast<std::size_t>(rows), -1);
    const auto group_blocks = std::clamp<std::int64_t>(blocks / (2 * threads), 1, lanes_max / attention_lanes);
    std::int64_t block = 0;
    for (const auto& s : sequences) {
      for (std::int64_t r = 0; r < s.rows; ++r) lane_of_row[s.first_row + r] = block * attention_lanes + r * heads;
      const auto lanes = s.rows * heads, step = group_blocks * attention_lanes;
      for (std::int64_t lane = 0; lane < lanes; lane += step)
        groups.push_back({&s, lane, std::min(step, lanes - lane), nullptr}),
            block_of_group_.push_back(block + lane / attention_lanes);
      block += lane_blocks(s, heads);
    }
  }

  void bind(const std::byte* queries, std::int64_t block_bytes) {
    for (std::size_t i = 0; i < groups.size(); ++i) groups[i].queries = queries + block_of_group_[i] * block_bytes;
  }

 private:
  static std::int64_t lane_blocks(const mla_sequence& s, std::int64_t heads) {
    return ceil_div(s.rows * heads, attention_lanes);
  }
  std::vector<std::int64_t> block_of_group_;
};

/// Stores channels [channel, channel + count) of one lane's query in the packed blocks; count <= 32.
void write_query(const attention_pass& pass, std::byte* queries, std::int64_t lane, std::int64_t channel,
                 const float* values, std::int64_t count) {
  const auto type = activation_type(pass.t);
  auto* block = queries + lane / attention_lanes * pass.query_block_bytes();
  const auto place = [&](std::int64_t i) {
    const auto k = channel + i;
    return block + k / tile_inputs * tile_bytes_of(type) +
           offset_in_tile(type, k % tile_inputs, lane % attention_lanes);
  };
  if (type == tensor_type::bf16) {
    std::uint16_t bits[tile_inputs];
    to_bf16(values, bits, count);
    if (channel % tile_inputs == 0 && count == tile_inputs) { // pairs of inputs are neighbours, 64 bytes apart
      for (std::int64_t i = 0; i < count; i += 2) std::memcpy(place(0) + i / 2 * 64, bits + i, 4);
    } else {
      for (std::int64_t i = 0; i < count; ++i) std::memcpy(place(i), bits + i, 2);
    }
    return;
  }
  float rounded[tile_inputs];
  if (pass.t.compute == compute_type::bfloat16) round_floats(values, rounded, count), values = rounded;
  for (std::int64_t i = 0; i < count; ++i) std::memcpy(place(i), values + i, sizeof(float));
}

} // namespace

void mla_attention::run(thread_pool& pool, const mla_weights& weights, std::span<const mla_sequence> sequences,
                        const std::byte* cache, const float* q, std::int64_t q_stride, float* o,
                        std::int64_t o_stride) {
  const auto& shape = weights.shape();
  const attention_pass pass(shape, target_, cache);
  lane_plan plan(sequences, shape.heads, pool.size());
  const auto rows = static_cast<std::int64_t>(plan.lane_of_row.size());
  const auto chunks = ceil_div(rows, rows_per_projection);
  queries_.reserve(static_cast<std::size_t>(plan.blocks * pass.query_block_bytes()));
  latents_.reserve(static_cast<std::size_t>(rows * shape.heads * shape.latent) * sizeof(float));
  plan.bind(queries_.data(), pass.query_block_bytes());
  if (shape.entry() % tile_inputs != 0) std::memset(queries_.data(), 0, plan.blocks * pass.query_block_bytes());
  while (static_cast<std::int64_t>(inputs_.size()) < shape.heads * chunks) inputs_.emplace_back(target_);

  // Tasks (head, chunk of rows): fn(head, first row, rows, packed input of the task).
  const auto for_heads = [&](auto fn) {
    pool.parallel_for(shape.heads * chunks, [&](std::int64_t task) {
      const auto first = task % chunks * rows_per_projection;
      fn(task / chunks, first, std::min(rows_per_projection, rows - first), inputs_[static_cast<std::size_t>(task)]);
    });
  };
  const auto sums = [](std::int64_t n) {
    return thread_scratch<float>(static_cast<std::size_t>(padded_rows(n) * tile_outputs), scores_slot);
  };

  for_heads([&](std::int64_t head, std::int64_t first, std::int64_t n, packed_rows& input) {
    const auto* from = q + first * q_stride + head * (shape.nope + shape.rope);
    input.assign(from, q_stride, n, shape.nope);
    float* acc = sums(n);
    for (std::int64_t block = 0; block < weights.key(head).blocks(); ++block) {
      weights.key(head).multiply_block(input, 0, n, block, acc);
      const auto channel = block * tile_outputs, width = std::min(tile_outputs, shape.latent - channel);
      for (std::int64_t r = 0; r < n; ++r)
        if (const auto lane = plan.lane_of_row[first + r]; lane >= 0)
          write_query(pass, queries_.data(), lane + head, channel, acc + r * tile_outputs, width);
    }
    for (std::int64_t r = 0; r < n; ++r)
      if (const auto lane = plan.lane_of_row[first + r]; lane >= 0)
        for (std::int64_t c = 0; c < shape.rope; c += tile_inputs)
          write_query(pass, queries_.data(), lane + head, shape.latent + c, from + r * q_stride + shape.nope + c,
                      std::min(tile_inputs, shape.rope - c));
  });

  attend(pool, pass, plan.groups, latents_.as<float>());

  for_heads([&](std::int64_t head, std::int64_t first, std::int64_t n, packed_rows& input) {
    const auto stride = shape.heads * shape.latent;
    input.assign(latents_.as<float>() + first * stride + head * shape.latent, stride, n, shape.latent);
    float* acc = sums(n);
    for (std::int64_t block = 0; block < weights.value(head).blocks(); ++block) {
      weights.value(head).multiply_block(input, 0, n, block, acc);
      const auto channel = block * tile_outputs, width = std::min(tile_outputs, shape.value - channel);
      for (std::int64_t r = 0; r < n; ++r)
        if (plan.lane_of_row[first + r] >= 0)
          std::memcpy(o + (first + r) * o_stride + head * shape.value + channel, acc + r * tile_outputs,
                      width * sizeof(float));
    }
  });
}

} // namespace troupe::kernels
