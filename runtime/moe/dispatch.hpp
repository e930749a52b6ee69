// From the gate's choice to one batch per expert_shard, and from their answers to one row per token.
// Invariant: a token's expert outputs are summed in ascending expert order, whatever the placement (contract 2).
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/segment.hpp"
#include "runtime/moe/placement.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe::moe {

/// How activations travel. bf16 in bfloat16 mode (transformers rounds expert outputs to bf16 as well), else f32.
enum class element : std::uint8_t { f32, bf16 };
constexpr std::size_t bytes_of(element type) { return type == element::f32 ? 4 : 2; }

/// The gate's choice for `row_count` rows: `experts_per_row` experts each, ascending within a row.
struct routing {
  std::int32_t row_count = 0;
  std::int32_t experts_per_row = 0;
  std::vector<expert_index> experts; ///< [row_count, experts_per_row]
  std::vector<float> weights;        ///< [row_count, experts_per_row], already normalised and scaled
};

/// What one shard computes in one layer: pair i is expert `experts[i]` applied to input row `rows[i]`.
/// Pairs are sorted by (expert, row), so a shard sees each expert's rows together.
struct shard_batch {
  layer_index layer = 0;
  element type = element::f32;
  std::int32_t hidden_size = 0;
  segment inputs;                    ///< [distinct rows, hidden_size]
  std::vector<expert_index> experts; ///< [pairs]
  std::vector<std::int32_t> rows;    ///< [pairs], index into inputs
};

/// Unweighted expert outputs in the order of the batch's pairs: [pairs, hidden_size] of the batch's element type.
struct shard_output {
  segment outputs;
};

/// One step of one layer cut up by shard, with what combine() needs to put it together again.
struct dispatch_plan {
  struct part {
    shard_id shard;
    shard_batch batch;
    std::vector<std::int32_t> slots; ///< [pairs] position row * experts_per_row + j in the routing
  };
  std::vector<part> parts; ///< only shards that have work, ascending
  std::int32_t row_count = 0;
};

/// Cuts `inputs` [rows, hidden_size] by the owner of each chosen expert.
dispatch_plan plan_dispatch(layer_index layer, const routing& choice, std::span<const float> inputs,
                            std::int32_t hidden_size, element type, const placement& where);

/// out[row] += sum over the row's experts, ascending, of weight * output, accumulated in fp32. `answers[i]` belongs to
/// `plan.parts[i]`. Errors: bad_input if an answer has the wrong size.
result<void> combine(const dispatch_plan& plan, const routing& choice, std::span<const shard_output> answers,
                     std::span<float> out);

} // namespace troupe::moe
