// Shell of router_core: the front door's actor. Lives beside the supervisor and the gateways; when its process dies the
// clients' connections die with it.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/listener_table.hpp"
#include "actors/router_core.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <unordered_map>
#include <vector>

namespace troupe {

struct router_parts {
  process_id process;
  router_options options;
  supervisor_actor supervisor;
};

struct router_state {
  static inline const char* name = "router";
  router_core core{{}};
  process_id process;
  supervisor_actor supervisor;
  listener_table listeners;
  std::unordered_map<process_id, kv_cache_actor> kv_caches; ///< of the latest view
  std::vector<caf::typed_response_promise<drained_atom>> drains;
};

/// Spawn with `system.spawn(router, parts)`; watches the cluster from its start on.
router_actor::behavior_type router(router_actor::stateful_pointer<router_state> self, router_parts parts);

} // namespace troupe
