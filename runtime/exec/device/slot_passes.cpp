#include "runtime/exec/device/slot_passes.hpp"

#include <algorithm>

namespace troupe::exec {

std::vector<slot_pass> cut_into_passes(std::span<const expert_index> experts, std::span<const std::int32_t> rows,
                                       std::span<const std::int32_t> slot_of_expert, int expert_count, int rows_max) {
  std::vector<slot_pass> passes;
  std::size_t nth = 0; // of its expert
  for (std::size_t pair = 0; pair < experts.size(); ++pair) {
    nth = pair > 0 && experts[pair] == experts[pair - 1] ? nth + 1 : 0;
    const auto index = nth / static_cast<std::size_t>(rows_max);
    if (index == passes.size()) {
      passes.emplace_back();
      passes.back().rows.assign(static_cast<std::size_t>(expert_count), 0);
      passes.back().token_of.assign(static_cast<std::size_t>(expert_count) * rows_max, 0);
    }
    auto& pass = passes[index];
    const auto expert = static_cast<std::size_t>(slot_of_expert[static_cast<std::size_t>(experts[pair])]);
    const auto slot = static_cast<int>(expert) * rows_max + pass.rows[expert]++;
    pass.token_of[static_cast<std::size_t>(slot)] = rows[pair];
    pass.slot_of.push_back(slot);
    pass.pairs.push_back(pair);
    pass.rows_hint = std::max(pass.rows_hint, pass.rows[expert]);
  }
  return passes;
}

} // namespace troupe::exec
