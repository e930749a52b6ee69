// The supervisor without its actor: membership, restart policy and placement put together into decisions.
#pragma once

#include "actors/generation_service.hpp"
#include "runtime/cluster/membership.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/result.hpp"
#include "runtime/moe/placement.hpp"
#include "runtime/policy/restart.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

struct company_size {
  int kv_caches = 1;
  int expert_shards = 0; ///< 0: the experts live inside the kv_cache
};
/// One router and so many others: "router-0", "kv_cache-0", "expert_shard-0", "expert_shard-1".
std::vector<cluster::expected_role> company_roles(const company_size& size);

class supervisor_core {
 public:
  struct joined {
    process_id process;
    shard_id shard;
  };

  /// Experts are placed evenly over the expert_shards of `roles`.
  supervisor_core(std::vector<cluster::expected_role> roles, std::int32_t expert_count);

  /// Errors: not_found for a name the recipe does not have.
  result<joined> join(const std::string& name, std::int64_t pid, time_point now);

  /// Unknown and replaced processes change nothing.
  void ready(process_id process, std::string device, time_point now);
  void draining(process_id process, time_point now);
  void progress(process_id process, const cluster::progress_report& report, time_point now);

  /// The connection to the process is gone. It counts as lost at once, but is started again only when it has ended.
  void disconnected(process_id process, time_point now);

  struct exit_decision {
    std::optional<time_point> restart_at;
    bool give_up = false; ///< the role dies too often: whoever started the cluster has to change something
  };
  /// The process has ended. `random` in [0, 1) spreads the delay of its successor. A drained role is started again at
  /// once and its end is no failure.
  exit_decision exited(const std::string& name, std::int64_t pid, time_point now, double random);

  /// Processes that are to be killed because they do not move (contract 5).
  std::vector<std::int64_t> expire(time_point now);

  /// From now on nobody is started again.
  void stop() { stopping_ = true; }

  bool is_ready(process_id process) const;
  std::uint64_t epoch() const { return members_.epoch(); }
  const moe::placement& placement() const { return placement_; }
  cluster_status status(time_point now) const;

 private:
  struct place {
    cluster::expected_role role;
    policy::restart restart;
    bool drained = false; ///< its process leaves on request
    bool given_up = false;
  };

  place* place_of(const std::string& name);
  const cluster::member* player_of(const std::string& name) const;
  role_status row(const place& p, time_point now) const;

  std::vector<place> places_;
  cluster::membership members_;
  moe::placement placement_;
  bool stopping_ = false;
};

} // namespace troupe
