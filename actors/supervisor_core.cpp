#include "actors/supervisor_core.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace troupe {

using cluster::member_state;
using cluster::role_kind;

std::vector<cluster::expected_role> company_roles(const company_size& size) {
  std::vector<cluster::expected_role> roles{{role_kind::router, "router-0", {}}};
  for (int i = 0; i < size.kv_caches; ++i) roles.push_back({role_kind::kv_cache, "kv_cache-" + std::to_string(i), {}});
  for (int i = 0; i < size.expert_shards; ++i)
    roles.push_back({role_kind::expert_shard, "expert_shard-" + std::to_string(i), shard_id(static_cast<unsigned>(i))});
  return roles;
}

supervisor_core::supervisor_core(std::vector<cluster::expected_role> roles, std::int32_t expert_count)
    : members_(roles) {
  const auto is_shard = [](const auto& role) { return role.kind == cluster::role_kind::expert_shard; };
  const auto shards = std::count_if(roles.begin(), roles.end(), is_shard);
  if (shards > 0) placement_ = moe::place_evenly(expert_count, static_cast<std::int32_t>(shards), 1);
  for (auto& role : roles) places_.push_back({std::move(role), policy::restart{}});
}

result<supervisor_core::joined> supervisor_core::join(const std::string& name, std::int64_t pid, time_point now) {
  TROUPE_ASSIGN(const auto process, members_.join(name, pid, now));
  const auto place = place_of(name);
  place->drained = false;
  return joined{process, place->role.shard};
}

void supervisor_core::ready(process_id process, std::string device, time_point now) {
  (void)members_.set_ready(process, std::move(device), now); // not_found: it has been replaced meanwhile
}

void supervisor_core::draining(process_id process, time_point now) {
  if (!members_.set_draining(process, now)) return;
  place_of(members_.find(process)->role.name)->drained = true;
}

void supervisor_core::progress(process_id process, const cluster::progress_report& report, time_point now) {
  (void)members_.set_progress(process, report, now); // not_found: it has been replaced meanwhile
}

void supervisor_core::disconnected(process_id process, time_point now) {
  if (const auto m = members_.find(process)) members_.exited(m->role.name, m->pid, now);
}

supervisor_core::exit_decision supervisor_core::exited(const std::string& name, std::int64_t pid, time_point now,
                                                       double random) {
  members_.exited(name, pid, now);
  const auto place = place_of(name);
  const auto player = player_of(name);
  const bool filled = player && player->state != member_state::lost;
  if (!place || filled || stopping_) return {};
  if (place->drained) return {.restart_at = now};
  const auto delay = place->restart.on_exit(now, random);
  place->given_up = !delay;
  if (!delay) return {.give_up = true};
  return {.restart_at = now + *delay};
}

std::vector<std::int64_t> supervisor_core::expire(time_point now) {
  std::vector<std::int64_t> pids;
  for (const auto process : members_.expire(now)) pids.push_back(members_.find(process)->pid);
  return pids;
}

bool supervisor_core::is_ready(process_id process) const {
  const auto m = members_.find(process);
  return m && m->state == member_state::ready;
}

role_status supervisor_core::row(const place& p, time_point now) const {
  role_status out;
  out.role = to_string(p.role.kind);
  out.name = p.role.name;
  out.state = p.given_up ? "failed" : "starting";
  const auto m = player_of(p.role.name);
  if (!m) return out;
  if (!p.given_up) out.state = to_string(m->state);
  out.device = m->device;
  out.pid = m->pid;
  out.steps = m->progress.steps;
  out.step_age_ms = std::chrono::duration_cast<std::chrono::milliseconds>(members_.step_age(*m, now)).count();
  out.running = m->progress.running;
  out.waiting = m->progress.waiting;
  out.kv_usage = m->progress.kv_usage;
  out.drafts_proposed = m->progress.drafts_proposed;
  out.drafts_accepted = m->progress.drafts_accepted;
  out.restarts = m->restarts;
  out.preemptions = m->progress.preemptions;
  out.pages = m->progress.pages;
  out.step_rows = m->progress.step_rows;
  return out;
}

cluster_status supervisor_core::status(time_point now) const {
  cluster_status out;
  out.ready = members_.complete() && !stopping_;
  for (const auto& place : places_) out.roles.push_back(row(place, now));
  return out;
}

supervisor_core::place* supervisor_core::place_of(const std::string& name) {
  const auto it = std::find_if(places_.begin(), places_.end(), [&](const auto& p) { return p.role.name == name; });
  return it == places_.end() ? nullptr : &*it;
}

const cluster::member* supervisor_core::player_of(const std::string& name) const {
  const auto& all = members_.members();
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& m) { return m.role.name == name; });
  return it == all.end() ? nullptr : &*it;
}

} // namespace troupe
