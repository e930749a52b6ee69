#include "runtime/cluster/membership.hpp"

#include "runtime/core/limits.hpp"

#include <algorithm>
#include <utility>

namespace troupe::cluster {

namespace {

/// How long a member may stay without moving.
duration patience(member_state state) {
  switch (state) {
  case member_state::starting: return limits::start_timeout;
  case member_state::ready: return limits::health_patience;
  case member_state::draining: return limits::drain_timeout + limits::rpc_timeout; // and then it has to exit
  case member_state::lost: break;
  }
  return duration::max();
}

bool idle(const progress_report& report) { return report.running == 0 && report.waiting == 0; }

} // namespace

std::string_view to_string(role_kind kind) {
  switch (kind) {
  case role_kind::router: return "router";
  case role_kind::kv_cache: return "kv_cache";
  case role_kind::expert_shard: return "expert_shard";
  case role_kind::supervisor: return "supervisor";
  }
  return "unknown";
}

std::string_view to_string(member_state state) {
  switch (state) {
  case member_state::starting: return "starting";
  case member_state::ready: return "ready";
  case member_state::draining: return "draining";
  case member_state::lost: return "lost";
  }
  return "unknown";
}

result<process_id> membership::join(std::string_view name, std::int64_t pid, time_point now) {
  const auto named = [&](const auto& role) { return role.name == name; };
  const auto role = std::find_if(expected_.begin(), expected_.end(), named);
  if (role == expected_.end())
    return error{errc::not_found, "no role named " + std::string(name) + " belongs to this cluster"};

  member newcomer;
  const auto before = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return named(m.role); });
  if (before != members_.end()) {
    enter(*before, member_state::lost, now);
    newcomer.restarts = before->restarts + 1;
    members_.erase(before);
  }
  newcomer.process = process_id{next_process_++};
  newcomer.role = *role;
  newcomer.pid = pid;
  newcomer.moved_at = now;
  members_.push_back(std::move(newcomer));
  return members_.back().process;
}

result<void> membership::set_ready(process_id process, std::string device, time_point now) {
  TROUPE_ASSIGN(auto* m, living(process));
  m->device = std::move(device);
  if (m->state == member_state::starting) enter(*m, member_state::ready, now);
  return {};
}

result<void> membership::set_progress(process_id process, const progress_report& report, time_point now) {
  TROUPE_ASSIGN(auto* m, living(process));
  // While it drains only the exit counts: steps do not buy it more time.
  const bool moves = idle(report) || idle(m->progress) || report.steps != m->progress.steps;
  if (moves && m->state == member_state::ready) m->moved_at = now;
  m->progress = report;
  return {};
}

result<void> membership::set_draining(process_id process, time_point now) {
  TROUPE_ASSIGN(auto* m, living(process));
  if (m->state != member_state::draining) enter(*m, member_state::draining, now);
  return {};
}

std::optional<process_id> membership::exited(std::string_view name, std::int64_t pid, time_point now) {
  for (auto& m : members_)
    if (m.role.name == name && m.pid == pid && m.state != member_state::lost) {
      enter(m, member_state::lost, now);
      return m.process;
    }
  return std::nullopt;
}

std::vector<process_id> membership::expire(time_point now) {
  std::vector<process_id> lost;
  for (auto& m : members_)
    if (now - m.moved_at > patience(m.state)) {
      enter(m, member_state::lost, now);
      lost.push_back(m.process);
    }
  return lost;
}

const member* membership::find(process_id process) const {
  const auto it = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m.process == process; });
  return it == members_.end() ? nullptr : &*it;
}

std::vector<const member*> membership::ready(role_kind kind) const {
  std::vector<const member*> found;
  for (const auto& m : members_)
    if (m.role.kind == kind && m.state == member_state::ready) found.push_back(&m);
  return found;
}

bool membership::complete() const {
  const auto is_ready = [](const auto& m) { return m.state == member_state::ready; };
  return static_cast<std::size_t>(std::count_if(members_.begin(), members_.end(), is_ready)) == expected_.size();
}

duration membership::step_age(const member& m, time_point now) const {
  return idle(m.progress) ? duration::zero() : now - m.moved_at;
}

result<member*> membership::living(process_id process) {
  for (auto& m : members_)
    if (m.process == process && m.state != member_state::lost) return &m;
  return error{errc::not_found, "process " + std::to_string(process.value) + " is no member of this cluster"};
}

void membership::enter(member& m, member_state state, time_point now) {
  if ((m.state == member_state::ready) != (state == member_state::ready)) ++epoch_;
  m.state = state;
  m.moved_at = now;
}

} // namespace troupe::cluster
