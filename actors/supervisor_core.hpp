// The supervisor without its actor: which roles a cluster has, who plays them now, and what to do when one ends.
// Invariant: a process_id is given once; whatever a replaced process still says is ignored.
//
//   expected ──join──▶ starting ──ready──▶ ready ──SIGTERM──▶ draining
//      ▲                  │                  │                  │
//      └──── restart ─────┴───── exit ───────┴──────────────────┘      too many restarts ──▶ failed
#pragma once

#include "actors/generation_service.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/moe/placement.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One role a recipe asks for.
struct role_spec {
  std::string role; ///< "router", "kv_cache", "expert_shard"
  std::string name; ///< "kv_cache-0"
};

enum class role_state { expected, starting, ready, draining, lost, failed };
std::string_view to_string(role_state state);

class supervisor_core {
 public:
  struct joined {
    process_id process;
    shard_id shard;
  };

  /// Experts are placed evenly over the roles called expert_shard, in the order of `roles`.
  supervisor_core(std::vector<role_spec> roles, std::int32_t expert_count);

  /// Errors: not_found for a name no recipe has, bad_input for a name that is taken by a living process.
  result<joined> join(const std::string& name, std::int64_t pid, time_point now);

  /// These return whether the view of the cluster has changed. Unknown or replaced processes change nothing.
  bool ready(process_id process, std::string device);
  bool draining(process_id process);
  bool lost(process_id process);

  void progress(process_id process, std::uint64_t steps, std::int32_t running, std::int32_t waiting, double kv_usage,
                time_point now);

  /// What to do about the end of a process: start the role again at that time, or nothing.
  std::optional<time_point> exited(const std::string& name, std::int64_t pid, time_point now);

  /// From now on nobody is restarted.
  void stop() { stopping_ = true; }

  bool is_ready(process_id process) const;
  const moe::placement& placement() const { return placement_; }
  cluster_status status(time_point now) const;

 private:
  struct member {
    role_spec spec;
    shard_id shard;
    role_state state = role_state::expected;
    process_id process;
    std::int64_t pid = 0;
    std::string device;
    std::uint64_t steps = 0;
    time_point moved_at; ///< the step counter moved, or the role had no work
    std::int32_t running = 0;
    std::int32_t waiting = 0;
    double kv_usage = 0;
    std::uint32_t restarts = 0;
    std::vector<time_point> ends; ///< recent, of this role
  };

  member* find(process_id process);
  const member* find(process_id process) const;
  member* named(const std::string& name);
  static bool alive(const member& m);
  bool change(process_id process, role_state to);

  std::vector<member> members_;
  moe::placement placement_;
  std::uint32_t next_process_ = 1;
  bool stopping_ = false;
};

} // namespace troupe
