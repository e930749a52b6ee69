// Shell of exec::expert_engine: the actor that owns the experts of one device. Stateless between messages, so that its
// death costs time and no request: the kv_cache asks its replacement again.
#pragma once

#include "actors/interfaces.hpp"
#include "runtime/exec/expert_client.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace troupe {

struct expert_shard_parts {
  process_id process;
  supervisor_actor supervisor;
  std::unique_ptr<exec::expert_engine> engine;
};

struct expert_shard_state {
  static inline const char* name = "expert_shard";
  std::shared_ptr<expert_shard_parts> parts;
  std::uint64_t steps = 0; ///< batches answered
};

/// Spawn with `system.spawn(expert_shard, parts)`. Whoever spawns it publishes it and tells the supervisor.
expert_shard_actor::behavior_type expert_shard(expert_shard_actor::stateful_pointer<expert_shard_state> self,
                                               std::shared_ptr<expert_shard_parts> parts);

} // namespace troupe
