#include "actors/supervisor_core.hpp"

#include "runtime/core/limits.hpp"

#include <algorithm>
#include <utility>

namespace troupe {

std::string_view to_string(role_state state) {
  switch (state) {
  case role_state::expected: return "expected";
  case role_state::starting: return "starting";
  case role_state::ready: return "ready";
  case role_state::draining: return "draining";
  case role_state::lost: return "lost";
  case role_state::failed: return "failed";
  }
  return "?";
}

supervisor_core::supervisor_core(std::vector<role_spec> roles, std::int32_t expert_count) {
  std::uint32_t shards = 0;
  for (auto& spec : roles) {
    member m;
    if (spec.role == "expert_shard") m.shard = shard_id{shards++};
    m.spec = std::move(spec);
    members_.push_back(std::move(m));
  }
  if (shards > 0) placement_ = moe::place_evenly(expert_count, static_cast<std::int32_t>(shards), 1);
}

result<supervisor_core::joined> supervisor_core::join(const std::string& name, std::int64_t pid, time_point now) {
  const auto m = named(name);
  if (!m) return error{errc::not_found, "role \"" + name + "\": this cluster has none of that name"};
  if (alive(*m))
    return error{errc::bad_input, "role \"" + name + "\": process " + std::to_string(m->pid) + " plays it already"};
  m->state = role_state::starting;
  m->process = process_id{next_process_++};
  m->pid = pid;
  m->steps = 0;
  m->running = m->waiting = 0;
  m->kv_usage = 0;
  m->moved_at = now;
  return joined{m->process, m->shard};
}

bool supervisor_core::change(process_id process, role_state to) {
  const auto m = find(process);
  if (!m || m->state == to) return false;
  m->state = to;
  return true;
}

bool supervisor_core::ready(process_id process, std::string device) {
  if (const auto m = find(process)) m->device = std::move(device);
  return change(process, role_state::ready);
}

bool supervisor_core::draining(process_id process) { return change(process, role_state::draining); }

bool supervisor_core::lost(process_id process) {
  const auto m = find(process);
  return m && m->state != role_state::draining && change(process, role_state::lost);
}

void supervisor_core::progress(process_id process, std::uint64_t steps, std::int32_t running, std::int32_t waiting,
                               double kv_usage, time_point now) {
  const auto m = find(process);
  if (!m) return;
  if (steps != m->steps || running + waiting == 0) m->moved_at = now;
  m->steps = steps;
  m->running = running;
  m->waiting = waiting;
  m->kv_usage = kv_usage;
}

bool supervisor_core::alive(const member& m) {
  return m.state == role_state::starting || m.state == role_state::ready || m.state == role_state::draining;
}

std::optional<time_point> supervisor_core::exited(const std::string& name, std::int64_t pid, time_point now) {
  const auto m = named(name);
  if (!m || (alive(*m) && m->pid != pid)) return std::nullopt; // an older one; its role is played by another
  const bool planned = m->state == role_state::draining;
  m->state = role_state::lost;
  m->running = m->waiting = 0;
  if (stopping_) return std::nullopt;
  ++m->restarts;
  if (planned) return now;
  std::erase_if(m->ends, [&](time_point end) { return now - end > limits::restart_period; });
  m->ends.push_back(now);
  if (m->ends.size() > static_cast<std::size_t>(limits::restart_intensity)) {
    m->state = role_state::failed;
    return std::nullopt;
  }
  return now + limits::restart_delay_min * (1 << (m->ends.size() - 1));
}

bool supervisor_core::is_ready(process_id process) const {
  const auto m = find(process);
  return m && m->state == role_state::ready;
}

cluster_status supervisor_core::status(time_point now) const {
  cluster_status out;
  out.ready = !stopping_;
  for (const auto& m : members_) {
    out.ready = out.ready && m.state == role_state::ready;
    role_status row;
    row.role = m.spec.role;
    row.name = m.spec.name;
    row.device = m.device;
    row.state = to_string(m.state);
    row.pid = m.pid;
    row.steps = m.steps;
    const bool works = m.running + m.waiting > 0;
    row.step_age_ms =
        works ? std::chrono::duration_cast<std::chrono::milliseconds>(now - m.moved_at).count() : std::int64_t{0};
    row.running = m.running;
    row.waiting = m.waiting;
    row.kv_usage = m.kv_usage;
    row.restarts = m.restarts;
    out.roles.push_back(std::move(row));
  }
  return out;
}

const supervisor_core::member* supervisor_core::find(process_id process) const {
  const auto it = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m.process == process; });
  return it == members_.end() ? nullptr : &*it;
}

supervisor_core::member* supervisor_core::find(process_id process) {
  return const_cast<member*>(std::as_const(*this).find(process));
}

supervisor_core::member* supervisor_core::named(const std::string& name) {
  const auto it = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m.spec.name == name; });
  return it == members_.end() ? nullptr : &*it;
}

} // namespace troupe
