#include "runtime/moe/placement.hpp"

#include "runtime/core/invariant.hpp"

namespace troupe::moe {

std::vector<expert_index> placement::experts_of(shard_id shard) const {
  std::vector<expert_index> experts;
  for (std::size_t e = 0; e < owner.size(); ++e)
    if (owner[e] == shard) experts.push_back(static_cast<expert_index>(e));
  return experts;
}

placement place_evenly(std::int32_t expert_count, std::int32_t shard_count, std::uint64_t epoch) {
  invariant(expert_count >= 0 && shard_count >= 1, "a placement needs at least one shard");
  placement where{.epoch = epoch, .owner = std::vector<shard_id>(static_cast<std::size_t>(expert_count))};
  for (std::int64_t s = 0; s < shard_count; ++s)
    for (auto e = s * expert_count / shard_count; e < (s + 1) * expert_count / shard_count; ++e)
      where.owner[static_cast<std::size_t>(e)] = shard_id{static_cast<std::uint32_t>(s)};
  return where;
}

} // namespace troupe::moe
