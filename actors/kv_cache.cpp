#include "actors/kv_cache.hpp"

#include "actors/role_lifetime.hpp"
#include "runtime/core/log.hpp"

#include <utility>

namespace troupe {

namespace {

using self_pointer = kv_cache_actor::stateful_pointer<kv_cache_state>;

/// Real time, or that of a test.
time_point now(self_pointer self) { return self->clock().now(); }

void deliver(self_pointer self, std::vector<token_event> events) {
  for (auto& [owner, message] : self->state.owners.split(self->state.parts->process, std::move(events)))
    self->send(owner, std::move(message));
}

void log_idle(const exec::step_stats& s) {
  log::debug("idle after {} steps: {} tokens, {} of {} drafts accepted", s.steps, s.generation_tokens,
             s.drafts_accepted, s.drafts_proposed);
}

void keep_stepping(self_pointer self) {
  if (self->state.stepping || !self->state.loop->has_work()) return;
  self->state.stepping = true;
  self->send(self, step_atom_v);
}

void admit(self_pointer self, admit_request&& message) {
  const auto id = message.request.id;
  const auto index = static_cast<std::int32_t>(message.request.output.size());
  self->state.owners.add(id, std::move(message.owner));
  if (const auto admitted = self->state.loop->admit(std::move(message.request), now(self)); !admitted) {
    log::warn("request {} refused: {}", id.value, admitted.error().message);
    token_event last;
    last.id = id;
    last.index = index;
    last.finish = finish_reason::failed;
    deliver(self, {last});
  }
  keep_stepping(self);
}

/// A step failed for want of experts. Stepping again is right until the patience of the requests is at its end.
void on_experts_away(self_pointer self, const error& why) {
  if (!self->state.experts_away) self->state.experts_away = now(self);
  if (now(self) - *self->state.experts_away < limits::dispatch_timeout) return;
  log::error("no experts for {} s: {}", limits::dispatch_timeout.count() / 1000, why.message);
  self->state.experts_away.reset();
  deliver(self, self->state.loop->abandon());
}

void step(self_pointer self) {
  self->state.stepping = false;
  if (!self->state.loop->has_work()) return;
  auto events = self->state.loop->step(now(self));
  if (events) {
    self->state.experts_away.reset();
    deliver(self, std::move(*events));
  } else {
    on_experts_away(self, events.error());
  }
  if (!self->state.loop->has_work()) log_idle(self->state.loop->stats());
  keep_stepping(self);
}

role_progress progress(self_pointer self) {
  const auto& s = self->state.loop->stats();
  const auto kv_usage = s.pages > 0 ? double(s.pages_used) / s.pages : 0;
  return {self->state.parts->process,
          {.steps = s.steps,
           .running = s.running,
           .waiting = s.waiting,
           .kv_usage = kv_usage,
           .drafts_proposed = s.drafts_proposed,
           .drafts_accepted = s.drafts_accepted,
           .preemptions = s.preemptions,
           .pages = s.pages,
           .step_rows = s.step_rows}};
}

} // namespace

kv_cache_actor::behavior_type kv_cache(self_pointer self, std::shared_ptr<kv_cache_parts> parts) {
  self->state.loop.emplace(*parts->engine, *parts->experts, parts->options);
  self->state.parts = std::move(parts);
  const auto& p = *self->state.parts;
  self->send(p.supervisor, kv_cache_ready{p.process, p.device, self});
  self->send(self, report_atom_v);
  return {
      [self](admit_request& message) { admit(self, std::move(message)); },
      [self](const cancel_request& message) {
        self->state.owners.erase(message.id);
        self->state.loop->cancel(message.id);
      },
      [self](step_atom) { step(self); },
      [self](report_atom) {
        self->send(self->state.parts->supervisor, progress(self));
        self->delayed_send(self, limits::heartbeat_interval, report_atom_v);
      },
      [self](drain_atom) { return leave_cluster(self, self->state.parts->supervisor, self->state.parts->process); },
  };
}

} // namespace troupe
