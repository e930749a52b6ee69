#include "actors/supervisor.hpp"

#include "runtime/core/log.hpp"

#include <caf/error.hpp>
#include <caf/sec.hpp>
#include <caf/system_messages.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace troupe {

namespace {

using self_pointer = supervisor_actor::stateful_pointer<supervisor_state>;

/// Real time, or that of a test.
time_point now(self_pointer self) { return self->clock().now(); }

cluster_view view_of(const supervisor_state& state) {
  cluster_view view{state.core.epoch(), state.core.placement(), {}, {}};
  for (const auto& [process, shard] : state.shards)
    if (state.core.is_ready(process)) view.shards.push_back(shard);
  for (const auto& [process, kv_cache] : state.kv_caches)
    if (state.core.is_ready(process)) view.kv_caches.push_back(kv_cache);
  return view;
}

void announce_changes(self_pointer self) {
  ++self->state.steps;
  if (self->state.core.epoch() == self->state.announced_epoch) return;
  self->state.announced_epoch = self->state.core.epoch();
  const auto view = view_of(self->state);
  for (const auto& watcher : self->state.watchers) self->send(watcher, view);
}

caf::result<role_assignment> on_join(self_pointer self, const join_cluster& message) {
  const auto joined = self->state.core.join(message.name, message.pid, now(self));
  announce_changes(self);
  if (!joined) {
    log::error("{}", joined.error().message);
    return caf::make_error(caf::sec::invalid_argument, joined.error().message);
  }
  log::info("{} starts as process {}", message.name, message.pid);
  const auto& parts = self->state.parts;
  return role_assignment{joined->process, joined->shard, self->state.core.placement(), parts.vocab_size, parts.options};
}

template <class Ref>
void on_ready(self_pointer self, const std::string& device, std::map<process_id, Ref>& refs, Ref ref) {
  const auto process = ref.process;
  self->monitor(ref.handle);
  self->state.monitored.emplace(ref.handle.address(), process);
  refs.emplace(process, std::move(ref));
  self->state.core.ready(process, device, now(self));
  announce_changes(self);
}

void on_down(self_pointer self, const caf::actor_addr& who) {
  auto& state = self->state;
  if (const auto node = state.monitored.extract(who)) {
    state.shards.erase(node.mapped());
    state.kv_caches.erase(node.mapped());
    state.core.disconnected(node.mapped(), now(self));
    announce_changes(self);
  }
  std::erase_if(state.watchers, [&](const auto& watcher) { return watcher.address() == who; });
}

void start_at(self_pointer self, time_point when, const std::string& name) {
  self->state.restarts.emplace_back(when, name);
  const auto delay = std::max(duration::zero(), when - now(self));
  self->delayed_send(self, std::chrono::ceil<std::chrono::milliseconds>(delay), retry_atom_v);
}

void on_exit(self_pointer self, const process_exited& message) {
  auto& state = self->state;
  log::log(message.status == 0 ? log::level::info : log::level::warn, "{} (process {}) ended with status {}",
           message.name, message.pid, message.status);
  const double random = std::uniform_real_distribution<>()(state.random);
  const auto decision = state.core.exited(message.name, message.pid, now(self), random);
  announce_changes(self);
  if (decision.restart_at) start_at(self, *decision.restart_at, message.name);
  if (decision.give_up) state.parts.give_up(message.name);
}

void start_due(self_pointer self) {
  std::erase_if(self->state.restarts, [&](const auto& due) {
    if (due.first > now(self)) return false;
    self->state.parts.start_process(due.second);
    return true;
  });
}

void watch(self_pointer self, const view_listener_actor& listener) {
  self->monitor(listener);
  self->state.watchers.push_back(listener);
  self->send(listener, view_of(self->state));
}

void check_health(self_pointer self) {
  for (const auto pid : self->state.core.expire(now(self))) {
    log::error("process {} does not move: killed", pid);
    self->state.parts.kill_process(pid);
  }
  announce_changes(self);
  self->delayed_send(self, limits::heartbeat_interval, report_atom_v);
}

cluster_status status(self_pointer self) {
  const auto& state = self->state;
  auto out = state.core.status(now(self));
  role_status own;
  own.role = own.name = "supervisor";
  own.device = "host";
  own.state = "ready";
  own.pid = getpid();
  own.steps = state.steps;
  out.roles.insert(out.roles.begin(), own);
  return out;
}

} // namespace

supervisor_actor::behavior_type supervisor(self_pointer self, supervisor_parts parts) {
  self->state.core = supervisor_core(parts.roles, parts.expert_count);
  self->state.parts = std::move(parts);
  self->set_down_handler([self](caf::down_msg& down) { on_down(self, down.source); });
  self->send(self, report_atom_v);
  auto& state = self->state;
  return {
      [self](const join_cluster& message) { return on_join(self, message); },
      [self](const role_ready& m) {
        self->state.core.ready(m.process, m.device, now(self));
        announce_changes(self);
      },
      [self, &state](const kv_cache_ready& m) {
        on_ready(self, m.device, state.kv_caches, {m.process, m.handle});
      },
      [self, &state](const expert_shard_ready& m) {
        on_ready(self, m.device, state.shards, {m.shard, m.process, m.address, m.device, m.handle});
      },
      [self, &state](const role_progress& m) {
        ++state.steps;
        state.core.progress(m.process, m.report, now(self));
      },
      [self](const role_draining& message) {
        self->state.core.draining(message.process, now(self));
        announce_changes(self);
        return drained_atom_v;
      },
      [self](const process_exited& message) { on_exit(self, message); },
      [self](const watch_cluster& message) { watch(self, message.listener); },
      [self](retry_atom) { start_due(self); },
      [self](report_atom) { check_health(self); },
      [self](get_status_atom) { return status(self); },
      [&state](drain_atom) {
        state.core.stop();
        state.restarts.clear();
        return drained_atom_v;
      },
  };
}

} // namespace troupe
