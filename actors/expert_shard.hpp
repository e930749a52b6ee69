// Shell of exec::expert_engine: the actor that owns the experts of one device. Stateless between messages, so that its
// death costs time and no request: the kv_cache asks its replacement again.
// It may be pinned (net/carrier.hpp): what takes long goes to a helper, so that the progress thread answers its peers.
#pragma once

#include "actors/interfaces.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/moe/pace.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace troupe {

struct expert_shard_parts {
  process_id process;
  supervisor_actor supervisor;
  std::unique_ptr<exec::expert_engine> engine;
};

/// Computes the long batches of its expert_shard, in another thread.
using expert_helper_actor = caf::typed_actor<
    // Answers with the outputs of every (expert, row) pair of the batch.
    caf::replies_to<dispatch_rows>::with<rows_done>,
    // The same for rows in device memory.
    caf::replies_to<dispatch_mapped>::with<mapped_done>,
    // Answers when everything that came before has been answered.
    caf::replies_to<drain_atom>::with<drained_atom>>;

/// The engine and who may use it: the helper while it has batches, else the shard.
struct expert_desk {
  std::shared_ptr<expert_shard_parts> parts;
  moe::pace pace;
  std::atomic<std::uint64_t> answered{0}; ///< batches: the shard's progress
  std::atomic<std::int32_t> with_helper{0};
};

struct expert_shard_state {
  static inline const char* name = "expert_shard";
  std::shared_ptr<expert_desk> desk;
  expert_helper_actor helper;
};

/// Spawn with `system.spawn(expert_shard, parts)`. Whoever spawns it publishes it and tells the supervisor.
expert_shard_actor::behavior_type expert_shard(expert_shard_actor::stateful_pointer<expert_shard_state> self,
                                               std::shared_ptr<expert_shard_parts> parts);

} // namespace troupe
