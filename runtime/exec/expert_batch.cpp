#include "runtime/exec/expert_batch.hpp"

#include "runtime/moe/elements.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace troupe::exec {

result<void> check_expert_batch(const moe::shard_batch& batch, std::int32_t hidden_size,
                                std::span<const std::int32_t> layer_slots, std::span<const std::int32_t> expert_slots) {
  const auto bad = [](std::string why) { return error{errc::bad_input, "expert batch: " + std::move(why)}; };
  const auto has = [](std::span<const std::int32_t> slots, std::int64_t i) {
    return i >= 0 && i < std::ssize(slots) && slots[static_cast<std::size_t>(i)] >= 0;
  };
  if (batch.hidden_size != hidden_size) return bad("hidden size " + std::to_string(batch.hidden_size));
  if (!has(layer_slots, batch.layer)) return bad("layer " + std::to_string(batch.layer) + " has no experts");
  const auto row_bytes = static_cast<std::size_t>(hidden_size) * moe::bytes_of(batch.type);
  if (batch.inputs.size() % row_bytes != 0) return bad("inputs are not whole rows");
  if (batch.experts.size() != batch.rows.size()) return bad("experts and rows do not pair up");
  if (!std::is_sorted(batch.experts.begin(), batch.experts.end())) return bad("experts are not ascending");
  const auto rows = static_cast<std::int64_t>(batch.inputs.size() / row_bytes);
  for (const auto row : batch.rows)
    if (row < 0 || row >= rows) return bad("there is no row " + std::to_string(row));
  for (const auto expert : batch.experts)
    if (!has(expert_slots, expert)) return bad("expert " + std::to_string(expert) + " is not of this shard");
  return {};
}

} // namespace troupe::exec
