// How the (expert, row) pairs of a message fill the slots of grouped kernels, whose number per expert is bounded.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe::exec {

/// Pairs of a message that one run of the kernels takes: no expert gets more than `rows_max` of them.
struct slot_pass {
  std::vector<int> rows;          ///< [experts]
  std::vector<int> token_of;      ///< [experts, rows_max]
  std::vector<int> slot_of;       ///< [pairs of this pass]
  std::vector<std::size_t> pairs; ///< their place in the message
  int rows_hint = 0;              ///< the largest of rows
};
/// Cuts (expert, row) pairs, sorted by expert, into passes. `slot_of_expert` maps experts to 0..experts-1. Pure.
std::vector<slot_pass> cut_into_passes(std::span<const expert_index> experts, std::span<const std::int32_t> rows,
                                       std::span<const std::int32_t> slot_of_expert, int expert_count, int rows_max);

} // namespace troupe::exec
