// Both directions walk the routing in an order that depends on the routing alone, so that neither the number of shards
// nor the order of their answers can reach the bits of a sum.
#include "runtime/moe/dispatch.hpp"

#include "kernels/cpu/elementwise.hpp"
#include "runtime/moe/elements.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace troupe::moe {

namespace {

/// How much one shard gets.
struct part_size {
  std::size_t last_row; ///< the row that was looked at last
  std::int32_t rows = 0;
  std::size_t pairs = 0;
};

/// Slots (row * experts_per_row + j) sorted by (expert, row): a counting sort.
std::vector<std::int32_t> slots_by_expert(const routing& choice, std::size_t expert_count) {
  std::vector<std::int32_t> begin(expert_count + 1);
  for (const auto e : choice.experts) {
    invariant(e >= 0 && static_cast<std::size_t>(e) < expert_count, "the gate chose an expert nobody owns");
    ++begin[static_cast<std::size_t>(e) + 1];
  }
  for (std::size_t e = 0; e < expert_count; ++e) begin[e + 1] += begin[e];
  std::vector<std::int32_t> slots(choice.experts.size());
  for (std::size_t slot = 0; slot < slots.size(); ++slot)
    slots[static_cast<std::size_t>(begin[static_cast<std::size_t>(choice.experts[slot])]++)] =
        static_cast<std::int32_t>(slot);
  return slots;
}

} // namespace

dispatch_plan plan_dispatch(layer_index layer, const routing& choice, std::span<const float> inputs,
                            std::int32_t hidden_size, element type, const placement& where) {
  const auto rows = static_cast<std::size_t>(choice.row_count);
  const auto per_row = static_cast<std::size_t>(choice.experts_per_row);
  const auto hidden = static_cast<std::size_t>(hidden_size);
  invariant(choice.experts.size() == rows * per_row, "a routing has experts_per_row experts a row");
  invariant(inputs.size() == rows * hidden, "plan_dispatch needs one input row per routed row");
  const auto slots = slots_by_expert(choice, where.owner.size());

  std::vector<shard_id> shards = where.owner;
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  std::vector<std::size_t> part_of(where.owner.size());
  for (std::size_t e = 0; e < part_of.size(); ++e)
    part_of[e] =
        static_cast<std::size_t>(std::lower_bound(shards.begin(), shards.end(), where.owner[e]) - shards.begin());

  dispatch_plan plan{.parts = std::vector<dispatch_plan::part>(shards.size()), .row_count = choice.row_count};
  // A shard gets each of its rows once, ascending, however many of its experts want it.
  std::vector<part_size> sizes(shards.size(), {.last_row = rows});
  std::vector<std::int32_t> index_in_part(choice.experts.size());
  for (std::size_t slot = 0; slot < index_in_part.size(); ++slot) {
    auto& part = sizes[part_of[static_cast<std::size_t>(choice.experts[slot])]];
    if (std::exchange(part.last_row, slot / per_row) != slot / per_row) ++part.rows;
    ++part.pairs;
    index_in_part[slot] = part.rows - 1;
  }
  for (std::size_t p = 0; p < shards.size(); ++p) {
    plan.parts[p].shard = shards[p];
    auto& batch = plan.parts[p].batch;
    batch = {.layer = layer, .type = type, .hidden_size = hidden_size};
    batch.inputs = segment::allocate(static_cast<std::size_t>(sizes[p].rows) * hidden * bytes_of(type));
    batch.experts.reserve(sizes[p].pairs);
    batch.rows.reserve(sizes[p].pairs);
    plan.parts[p].slots.reserve(sizes[p].pairs);
    sizes[p].rows = 0;
  }
  for (std::size_t slot = 0; slot < index_in_part.size(); ++slot) {
    const auto p = part_of[static_cast<std::size_t>(choice.experts[slot])];
    if (index_in_part[slot] < sizes[p].rows) continue; // written for another of its experts
    auto* const to = plan.parts[p].batch.inputs.writable().data();
    write_elements(inputs.subspan(slot / per_row * hidden, hidden), type,
                   to + static_cast<std::size_t>(sizes[p].rows++) * hidden * bytes_of(type));
  }

  for (const auto slot : slots) {
    const auto expert = choice.experts[static_cast<std::size_t>(slot)];
    auto& part = plan.parts[part_of[static_cast<std::size_t>(expert)]];
    part.batch.experts.push_back(expert);
    part.batch.rows.push_back(index_in_part[static_cast<std::size_t>(slot)]);
    part.slots.push_back(slot);
  }
  std::erase_if(plan.parts, [](const auto& part) { return part.slots.empty(); });
  return plan;
}

result<void> combine(const dispatch_plan& plan, const routing& choice, std::span<const shard_output> answers,
                     std::span<float> out) {
  if (answers.size() != plan.parts.size())
    return error{errc::bad_input, "combine: " + std::to_string(answers.size()) + " answers for " +
                                      std::to_string(plan.parts.size()) + " shards"};
  if (plan.row_count == 0) return {};
  const auto hidden = out.size() / static_cast<std::size_t>(plan.row_count);
  invariant(out.size() == hidden * static_cast<std::size_t>(choice.row_count), "combine needs whole rows");

  std::vector<const std::byte*> output_of_slot(choice.experts.size(), nullptr);
  element type = element::f32;
  for (std::size_t p = 0; p < plan.parts.size(); ++p) {
    const auto& part = plan.parts[p];
    type = part.batch.type;
    const auto row_bytes = hidden * bytes_of(type);
    if (answers[p].outputs.size() != part.slots.size() * row_bytes)
      return error{errc::bad_input, "combine: shard " + std::to_string(part.shard.value) + " answered " +
                                        std::to_string(answers[p].outputs.size()) + " bytes instead of " +
                                        std::to_string(part.slots.size() * row_bytes)};
    for (std::size_t i = 0; i < part.slots.size(); ++i)
      output_of_slot[static_cast<std::size_t>(part.slots[i])] = answers[p].outputs.bytes().data() + i * row_bytes;
  }

  const auto per_row = static_cast<std::size_t>(choice.experts_per_row);
  std::vector<float> sum(hidden), output(hidden);
  for (std::size_t row = 0; row < static_cast<std::size_t>(plan.row_count); ++row) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (std::size_t slot = row * per_row; slot < (row + 1) * per_row; ++slot) {
      invariant(output_of_slot[slot] != nullptr, "combine: the plan does not cover the routing");
      read_elements(output_of_slot[slot], type, output);
      kernels::add_scaled(output.data(), choice.weights[slot], static_cast<std::int64_t>(hidden), sum.data());
    }
    const auto to = out.subspan(row * hidden, hidden);
    kernels::add(sum.data(), static_cast<std::int64_t>(hidden), to.data());
  }
  return {};
}

} // namespace troupe::moe
