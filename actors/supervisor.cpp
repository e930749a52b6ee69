#include "actors/supervisor.hpp"

#include "runtime/core/log.hpp"

#include <caf/error.hpp>
#include <caf/sec.hpp>
#include <caf/system_messages.hpp>

#include <utility>

namespace troupe {

namespace {

using self_pointer = supervisor_actor::stateful_pointer<supervisor_state>;

cluster_view view_of(supervisor_state& state) {
  cluster_view view{state.view_epoch, state.core.placement(), {}, {}};
  for (const auto& [process, shard] : state.shards)
    if (state.core.is_ready(process)) view.shards.push_back(shard);
  for (const auto& [process, kv_cache] : state.kv_caches)
    if (state.core.is_ready(process)) view.kv_caches.push_back(kv_cache);
  return view;
}

void announce(self_pointer self) {
  ++self->state.view_epoch;
  const auto view = view_of(self->state);
  for (const auto& watcher : self->state.watchers) self->send(watcher, view);
}

caf::result<role_assignment> on_join(self_pointer self, const join_cluster& message) {
  auto& state = self->state;
  const auto joined = state.core.join(message.name, message.pid, clock::now());
  if (!joined) {
    log::error("{}", joined.error().message);
    return caf::make_error(caf::sec::invalid_argument, joined.error().message);
  }
  log::info("{} starts as process {}", message.name, message.pid);
  return role_assignment{joined->process, joined->shard, state.core.placement(), state.parts.options};
}

template <class Ref>
void on_role_ready(self_pointer self, const std::string& device, std::map<process_id, Ref>& refs, Ref ref) {
  const auto process = ref.process;
  self->monitor(ref.handle);
  self->state.monitored.emplace(ref.handle.address(), process);
  refs.emplace(process, std::move(ref));
  if (self->state.core.ready(process, device)) announce(self);
}

void forget(self_pointer self, process_id process) {
  self->state.shards.erase(process);
  self->state.kv_caches.erase(process);
}

void on_down(self_pointer self, const caf::actor_addr& who) {
  const auto node = self->state.monitored.extract(who);
  if (!node) {
    std::erase_if(self->state.watchers, [&](const auto& watcher) { return watcher.address() == who; });
    return;
  }
  forget(self, node.mapped());
  if (self->state.core.lost(node.mapped())) announce(self);
}

void on_exit(self_pointer self, const process_exited& message) {
  const auto now = clock::now();
  log::warn("{} (process {}) ended with status {}", message.name, message.pid, message.status);
  const auto restart = self->state.core.exited(message.name, message.pid, now);
  announce(self);
  if (!restart) return;
  self->state.restarts.emplace_back(*restart, message.name);
  self->delayed_send(self, std::chrono::duration_cast<std::chrono::milliseconds>(*restart - now), retry_atom_v);
}

void start_due(self_pointer self) {
  // The timer may fire a little early; what is due within a tick is due.
  const auto now = clock::now() + limits::restart_delay_min / 10;
  std::erase_if(self->state.restarts, [&](const auto& due) {
    if (due.first > now) return false;
    self->state.parts.start_process(due.second);
    return true;
  });
}

void on_watch(self_pointer self, const view_listener_actor& listener) {
  self->monitor(listener);
  self->state.watchers.push_back(listener);
  self->send(listener, view_of(self->state));
}

} // namespace

supervisor_actor::behavior_type supervisor(self_pointer self, supervisor_parts parts) {
  self->state.core = supervisor_core(parts.roles, parts.expert_count);
  self->state.parts = std::move(parts);
  self->set_down_handler([self](caf::down_msg& down) { on_down(self, down.source); });
  auto& state = self->state;
  return {
      [self](const join_cluster& message) { return on_join(self, message); },
      [self](const role_ready& message) {
        if (self->state.core.ready(message.process, message.device)) announce(self);
      },
      [self, &state](const kv_cache_ready& m) {
        on_role_ready(self, m.device, state.kv_caches, {m.process, m.handle});
      },
      [self, &state](const expert_shard_ready& m) {
        on_role_ready(self, m.device, state.shards, {m.shard, m.process, m.address, m.handle});
      },
      [&state](const role_progress& m) {
        state.core.progress(m.process, m.steps, m.running, m.waiting, m.kv_usage, clock::now());
      },
      [self, &state](const role_draining& message) {
        if (state.core.draining(message.process)) announce(self);
        return drained_atom_v;
      },
      [self](const process_exited& message) { on_exit(self, message); },
      [self](const watch_cluster& message) { on_watch(self, message.listener); },
      [self](retry_atom) { start_due(self); },
      [&state](get_status_atom) { return state.core.status(clock::now()); },
      [&state](drain_atom) {
        state.core.stop();
        state.restarts.clear();
        return drained_atom_v;
      },
  };
}

} // namespace troupe
