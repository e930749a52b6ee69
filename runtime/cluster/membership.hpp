// Who belongs to the cluster, in which state, and whether it moves: the supervisor's view, without its messages.
// Invariants: a process_id is never given twice; what is lost stays lost (its replacement has another id, and its late
// reports are refused); the epoch grows exactly when the set of ready members changes.
//
//   join ─▶ starting ──set_ready──▶ ready ──set_draining──▶ draining
//               └──────────── exit, silence, or no progress ─┴──▶ lost
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/step_histogram.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::cluster {

enum class role_kind : std::uint8_t { router, kv_cache, expert_shard, supervisor };
enum class member_state : std::uint8_t { starting, ready, draining, lost };

std::string_view to_string(role_kind kind);
std::string_view to_string(member_state state);

/// A place in the recipe that some process has to fill.
struct expected_role {
  role_kind kind = role_kind::router;
  std::string name; ///< "expert_shard-1": unique
  shard_id shard;   ///< expert_shard only
};

/// What a role says about itself at every heartbeat.
struct progress_report {
  std::uint64_t steps = 0; ///< only grows
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  double kv_usage = 0;
  std::uint64_t drafts_proposed = 0; ///< tokens of the MTP module; only grows
  std::uint64_t drafts_accepted = 0;
  std::uint64_t preemptions = 0; ///< only grows
  std::int32_t pages = 0;        ///< of the latent cache, used or not
  step_histogram step_rows{};
};

struct member {
  process_id process;
  expected_role role;
  std::int64_t pid = 0;
  std::string device;
  member_state state = member_state::starting;
  progress_report progress;
  time_point moved_at;        ///< when it last changed state, advanced, or said that it has nothing to do
  std::uint32_t restarts = 0; ///< how many processes have filled this place before
};

class membership {
 public:
  explicit membership(std::vector<expected_role> expected) : expected_(std::move(expected)) {}

  /// A process fills the place `name`; whoever filled it before is lost. Errors: not_found for an unexpected name.
  result<process_id> join(std::string_view name, std::int64_t pid, time_point now);

  /// Errors of these three: not_found for a process that never joined or is lost; it should exit.
  result<void> set_ready(process_id process, std::string device, time_point now);
  result<void> set_progress(process_id process, const progress_report& report, time_point now);
  result<void> set_draining(process_id process, time_point now);

  /// The operating system says that the process is gone. Returns who that was, if it was still counted as alive.
  std::optional<process_id> exited(std::string_view name, std::int64_t pid, time_point now);

  /// Declares lost every ready member that stood still longer than limits::health_patience while it had work or was
  /// silent, every starting one after limits::start_timeout, every draining one soon after limits::drain_timeout.
  std::vector<process_id> expire(time_point now);

  std::uint64_t epoch() const { return epoch_; }
  /// The latest process of every place that was ever filled, by process id.
  const std::vector<member>& members() const { return members_; }
  const member* find(process_id process) const;
  std::vector<const member*> ready(role_kind kind) const;
  /// Every place is filled by a ready member.
  bool complete() const;
  /// How long the member has had work without advancing; zero when it is idle.
  duration step_age(const member& m, time_point now) const;

 private:
  result<member*> living(process_id process);
  void enter(member& m, member_state state, time_point now);

  std::vector<expected_role> expected_;
  std::vector<member> members_;
  std::uint64_t epoch_ = 1;
  std::uint32_t next_process_ = 0;
};

} // namespace troupe::cluster
