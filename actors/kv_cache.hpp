// Shell of exec::step_loop: the actor that owns one attention device. Spawn it detached: a step blocks its thread.
// Restarted by the supervisor as a process; its requests live on in the routers' journals.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/listener_table.hpp"
#include "runtime/exec/step_loop.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <memory>
#include <optional>
#include <string>

namespace troupe {

/// What the composition root makes for a kv_cache.
struct kv_cache_parts {
  process_id process;
  std::string device; ///< for `troupe status`
  supervisor_actor supervisor;
  std::unique_ptr<exec::engine> engine;
  std::unique_ptr<exec::expert_client> experts;
  exec::step_loop_options options;
};

struct kv_cache_state {
  static inline const char* name = "kv_cache";
  std::shared_ptr<kv_cache_parts> parts;
  std::optional<exec::step_loop> loop;
  listener_table owners;
  bool stepping = false;                  ///< a step_atom is in the mailbox
  std::optional<time_point> experts_away; ///< since when no step has succeeded for want of an expert_shard
};

/// Spawn with `system.spawn<caf::detached>(kv_cache, parts)`.
kv_cache_actor::behavior_type kv_cache(kv_cache_actor::stateful_pointer<kv_cache_state> self,
                                       std::shared_ptr<kv_cache_parts> parts);

} // namespace troupe
