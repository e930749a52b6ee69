#include "actors/router.hpp"

#include "runtime/core/log.hpp"

#include <utility>

namespace troupe {

namespace {

using self_pointer = router_actor::stateful_pointer<router_state>;

/// Real time, or that of a test.
time_point now(self_pointer self) { return self->clock().now(); }

void send_assignments(self_pointer self) {
  for (auto& [process, request] : self->state.core.assign())
    self->send(self->state.kv_caches.at(process), admit_request{std::move(request), self});
}

void deliver(self_pointer self, std::vector<token_event> events) {
  for (auto& [listener, message] : self->state.listeners.split(self->state.process, std::move(events)))
    self->send(listener, std::move(message));
}

void answer_drains(self_pointer self) {
  if (!self->state.core.draining() || !self->state.core.idle()) return;
  for (auto& promise : std::exchange(self->state.drains, {})) promise.deliver(drained_atom_v);
}

admission refusal(const error& e) { return {false, e.code, e.message, e.retry_after_s}; }

admission submit(self_pointer self, submit_request&& message) {
  const auto id = message.request.id;
  const auto admitted = self->state.core.submit(std::move(message.request), now(self));
  if (!admitted) return refusal(admitted.error());
  self->state.listeners.add(id, std::move(message.listener));
  send_assignments(self);
  return {};
}

void on_tokens(self_pointer self, tokens_emitted&& message) {
  std::erase_if(message.events,
                [&](const auto& event) { return !self->state.core.accept(message.process, event, now(self)); });
  deliver(self, std::move(message.events));
  answer_drains(self);
}

void on_cancel(self_pointer self, request_id id) {
  self->state.listeners.erase(id);
  if (const auto holder = self->state.core.cancel(id, now(self)))
    self->send(self->state.kv_caches.at(*holder), cancel_request{id});
  answer_drains(self);
}

void on_view(self_pointer self, const cluster_view& view) {
  std::vector<process_id> serving;
  self->state.kv_caches.clear();
  for (const auto& [process, handle] : view.kv_caches) {
    serving.push_back(process);
    self->state.kv_caches.emplace(process, handle);
  }
  self->state.core.set_kv_caches(serving, now(self));
  send_assignments(self);
}

void report(self_pointer self) {
  const auto& core = self->state.core;
  deliver(self, self->state.core.expire(now(self)));
  self->send(self->state.supervisor,
             role_progress{self->state.process, {core.steps(), core.running(), core.waiting()}});
  self->delayed_send(self, limits::heartbeat_interval, report_atom_v);
  answer_drains(self);
}

caf::typed_response_promise<drained_atom> drain(self_pointer self) {
  const auto patience = self->state.core.drain();
  self->state.drains.push_back(self->make_response_promise<drained_atom>());
  const auto promise = self->state.drains.back();
  self->delayed_send(self, patience, retry_atom_v);
  answer_drains(self);
  return promise;
}

void give_up_draining(self_pointer self) {
  if (self->state.core.idle()) return;
  log::warn("drain: {} requests did not end in time", self->state.listeners.size());
  deliver(self, self->state.core.abandon());
  answer_drains(self);
}

} // namespace

router_actor::behavior_type router(self_pointer self, router_parts parts) {
  self->state.core = router_core(parts.options);
  self->state.process = parts.process;
  self->state.supervisor = parts.supervisor;
  self->send(parts.supervisor, watch_cluster{self});
  self->send(parts.supervisor, role_ready{parts.process, "host"});
  self->send(self, report_atom_v);
  return {
      [self](submit_request& message) { return submit(self, std::move(message)); },
      [self](const cancel_request& message) { on_cancel(self, message.id); },
      [self](tokens_emitted& message) { on_tokens(self, std::move(message)); },
      [self](const cluster_view& view) { on_view(self, view); },
      [self](report_atom) { report(self); },
      [self](retry_atom) { give_up_draining(self); },
      [self](drain_atom) { return drain(self); },
  };
}

} // namespace troupe
