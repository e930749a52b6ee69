// Shell of supervisor_core: knows the handles of the roles, tells everybody who serves, and has dead ones replaced. It
// is never in the way of a token. One per cluster for now; when its process dies, the role processes end too.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/supervisor_core.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

struct supervisor_parts {
  std::vector<role_spec> roles;
  std::int32_t expert_count = 0;
  serving_options options;
  /// Starts a process for the role of that name. Called from the supervisor's thread; returns at once.
  std::function<void(const std::string& name)> start_process;
};

struct supervisor_state {
  static inline const char* name = "supervisor";
  supervisor_core core{{}, 0};
  supervisor_parts parts;
  std::map<process_id, shard_ref> shards;
  std::map<process_id, kv_cache_ref> kv_caches;
  std::map<caf::actor_addr, process_id> monitored;
  std::vector<view_listener_actor> watchers;
  std::vector<std::pair<time_point, std::string>> restarts; ///< roles to start, and when
  std::uint64_t view_epoch = 0;
};

/// Spawn with `system.spawn(supervisor, parts)`.
supervisor_actor::behavior_type supervisor(supervisor_actor::stateful_pointer<supervisor_state> self,
                                           supervisor_parts parts);

} // namespace troupe
