// Which expert_shard owns which expert. Made by the supervisor, versioned by epoch, the same for every MoE layer.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <vector>

namespace troupe::moe {

struct placement {
  std::uint64_t epoch = 0;
  std::vector<shard_id> owner; ///< [expert_count]

  /// Experts of `shard`, ascending.
  std::vector<expert_index> experts_of(shard_id shard) const;
};

/// Contiguous, equal shares: shard s of n owns experts [s*E/n, (s+1)*E/n). `shard_count` >= 1.
placement place_evenly(std::int32_t expert_count, std::int32_t shard_count, std::uint64_t epoch);

} // namespace troupe::moe
