// Shell of supervisor_core: knows the handles of the roles, tells everybody who serves, and has dead ones replaced. It
// is never in the way of a token. One per cluster; when its process dies, the role processes end too.
#pragma once

#include "actors/interfaces.hpp"
#include "actors/supervisor_core.hpp"

#include <caf/actor_addr.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

struct supervisor_parts {
  std::vector<cluster::expected_role> roles;
  std::int32_t expert_count = 0;
  std::int32_t vocab_size = 0; ///< the tokenizer's
  serving_options options;
  /// All are called from the supervisor's thread and return at once.
  std::function<void(const std::string& name)> start_process;
  std::function<void(std::int64_t pid)> kill_process;
  std::function<void(const std::string& name)> give_up; ///< a role died too often: the cluster cannot go on
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
  std::uint64_t announced_epoch = 0;
  std::uint64_t steps = 0; ///< messages about the cluster, its own progress counter
  std::minstd_rand random{std::random_device{}()};
};

/// Spawn with `system.spawn(supervisor, parts)`.
supervisor_actor::behavior_type supervisor(supervisor_actor::stateful_pointer<supervisor_state> self,
                                           supervisor_parts parts);

} // namespace troupe
