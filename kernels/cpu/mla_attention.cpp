// Math      q~ = q_nope W_UK per head;  z = attention of q~ and q_rope over the cache (mla_lanes.cpp);  o = z W_UVᵀ
// Shapes    q [rows, heads, nope + rope] f32;  cache [pages][64][entry];  o [rows, heads * value] f32
// Roofline  decode: kv_b once plus the sequence's cache once; prefill: see mla_lanes.cpp
// Mapping   tasks: (head, 128 rows) for the two projections; between them (up to 128 lanes of a sequence), or
//           (lanes, split of 2048 positions) when there are fewer lane groups than would keep the threads busy
// Measured  one Sapphire Rapids-class core, AMX, R1 head dims: 1 row x 4096 positions 0.51 ms with 4 heads, 5 ms with
//           128; 256 rows x 2048 positions 8.3 ms with 4 heads (515 GFLOP/s)
#include "kernels/cpu/mla_attention.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/mla_lanes.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::kernels {
namespace {

constexpr std::int64_t rows_per_projection = 128;
constexpr std::int64_t partials_bytes_max = std::int64_t{256} << 20; // beyond it, splits are done in turn

/// All splits of a group in one task.
void attend_group(const attention_pass& pass, const lane_group& group, std::span<packed_rows> z) {
  const auto floats = latent_floats(pass, group.lanes);
  const auto splits = group.splits(pass.shape.heads);
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
void attend_splits_apart(thread_pool& pool, const attention_pass& pass, std::span<const lane_group> groups,
                         std::span<packed_rows> z) {
  std::vector<std::pair<const lane_group*, std::int64_t>> tasks;
  for (const auto& group : groups)
    for (std::int64_t s = 0; s < group.splits(pass.shape.heads); ++s) tasks.emplace_back(&group, s);
  std::vector<lane_state> states(tasks.size());
  const auto floats_max = latent_floats(pass, lanes_max);
  const buffer memory(tasks.size() * static_cast<std::size_t>(floats_max) * sizeof(float));
  pool.parallel_for(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    states[i].latents = memory.as<float>() + i * floats_max;
    attend_split(pass, *tasks[i].first, tasks[i].second, states[i]);
  });
  std::size_t next = 0;
  for (const auto& group : groups) {
    lane_state total;
    total.latents = thread_scratch<float>(static_cast<std::size_t>(floats_max), total_slot);
    total.clear(latent_floats(pass, group.lanes));
    for (std::int64_t s = 0; s < group.splits(pass.shape.heads); ++s) merge(pass, group, states[next++], total);
    finish(pass, group, total, z);
  }
}

void attend(thread_pool& pool, const attention_pass& pass, std::span<const lane_group> groups,
            std::span<packed_rows> z) {
  std::int64_t splits = 0;
  for (const auto& group : groups) splits += group.splits(pass.shape.heads);
  const auto bytes = splits * latent_floats(pass, lanes_max) * static_cast<std::int64_t>(sizeof(float));
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

  void bind(const std::byte* queries, std::int64_t query_bytes) {
    for (std::size_t i = 0; i < groups.size(); ++i)
      groups[i].queries = queries + block_of_group_[i] * attention_lanes * query_bytes;
  }

 private:
  static std::int64_t lane_blocks(const mla_sequence& s, std::int64_t heads) {
    return ceil_div(s.rows * heads, attention_lanes);
  }
  std::vector<std::int64_t> block_of_group_;
};

/// Stores channels [channel, channel + count) of one lane's query, rounded as the kernels read it.
void write_query(const attention_pass& pass, std::byte* queries, std::int64_t lane, std::int64_t channel,
                 const float* values, std::int64_t count) {
  auto* to = queries + lane * pass.query_bytes() + channel * pass.element_bytes;
  if (pass.element_bytes == 2) {
    to_bf16(values, reinterpret_cast<std::uint16_t*>(to), count);
  } else if (pass.t.compute == compute_type::bfloat16) {
    round_floats(values, reinterpret_cast<float*>(to), count);
  } else {
    std::memcpy(to, values, count * sizeof(float));
  }
}

/// Calls fn(task, head, first row, rows) for every task of a projection.
template <class Fn>
void for_heads(thread_pool& pool, std::int64_t heads, std::int64_t rows, Fn fn) {
  const auto chunks = ceil_div(rows, rows_per_projection);
  pool.parallel_for(heads * chunks, [&](std::int64_t task) {
    const auto first = task % chunks * rows_per_projection;
    fn(static_cast<std::size_t>(task), task / chunks, first, std::min(rows_per_projection, rows - first));
  });
}

/// Calls fn(row, channel, values, count) for every block of outputs of rows [first, first + n) of `input` times
/// `weights`; row 0 is `first`.
template <class Fn>
void project(const matrix& weights, const packed_rows& input, std::int64_t first, std::int64_t n, Fn fn) {
  auto* acc = thread_scratch<float>(static_cast<std::size_t>(padded_rows(n) * tile_outputs), scores_slot);
  for (std::int64_t block = 0; block < weights.blocks(); ++block) {
    weights.multiply_block(input, first, n, block, acc);
    const auto channel = block * tile_outputs, width = std::min(tile_outputs, weights.rows() - channel);
    for (std::int64_t r = 0; r < n; ++r) fn(r, channel, acc + r * tile_outputs, width);
  }
}

} // namespace

void mla_attention::run(thread_pool& pool, const mla_weights& weights, std::span<const mla_sequence> sequences,
                        const std::byte* cache, const float* q, std::int64_t q_stride, float* o,
                        std::int64_t o_stride) {
  const auto& shape = weights.shape();
  const attention_pass pass(shape, target_, cache, format_);
  lane_plan plan(sequences, shape.heads, pool.size());
  const auto rows = static_cast<std::int64_t>(plan.lane_of_row.size());
  if (plan.blocks == 0) return;
  const auto tasks = shape.heads * ceil_div(rows, rows_per_projection);
  const auto queries_bytes = static_cast<std::size_t>(plan.blocks * attention_lanes * pass.query_bytes());
  queries_.reserve(queries_bytes);
  plan.bind(queries_.data(), pass.query_bytes());
  if (shape.entry() % tile_inputs != 0) std::memset(queries_.data(), 0, queries_bytes);
  while (static_cast<std::int64_t>(inputs_.size()) < tasks) inputs_.emplace_back(target_);
  while (static_cast<std::int64_t>(attended_.size()) < shape.heads) attended_.emplace_back(target_);
  for (std::int64_t head = 0; head < shape.heads; ++head) attended_[head].resize(rows, shape.latent);

  for_heads(pool, shape.heads, rows, [&](std::size_t task, std::int64_t head, std::int64_t first, std::int64_t n) {
    const auto* from = q + first * q_stride + head * (shape.nope + shape.rope);
    const auto write = [&](std::int64_t row, std::int64_t channel, const float* values, std::int64_t count) {
      const auto lane = plan.lane_of_row[static_cast<std::size_t>(first + row)];
      if (lane >= 0) write_query(pass, queries_.data(), lane + head, channel, values, count);
    };
    inputs_[task].assign(from, q_stride, n, shape.nope);
    project(weights.key(head), inputs_[task], 0, n, write);
    for (std::int64_t r = 0; r < n; ++r) write(r, shape.latent, from + r * q_stride + shape.nope, shape.rope);
  });

  attend(pool, pass, plan.groups, attended_);

  for_heads(pool, shape.heads, rows, [&](std::size_t, std::int64_t head, std::int64_t first, std::int64_t n) {
    project(weights.value(head), attended_[head], first, n,
            [&](std::int64_t row, std::int64_t channel, const float* values, std::int64_t count) {
              if (plan.lane_of_row[static_cast<std::size_t>(first + row)] < 0) return;
              copy_sums(values, 1, count, o + (first + row) * o_stride + head * shape.value + channel, o_stride);
            });
  });
}

} // namespace troupe::kernels
