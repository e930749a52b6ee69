#include "actors/expert_shard.hpp"

#include "actors/role_lifetime.hpp"

#include <utility>

namespace troupe {

namespace {

using self_pointer = expert_shard_actor::stateful_pointer<expert_shard_state>;

rows_done run(self_pointer self, const dispatch_rows& message) {
  ++self->state.steps;
  auto output = self->state.parts->engine->run(message.batch);
  if (!output) return {message.ticket, {}, output.error().message};
  return {message.ticket, std::move(*output), {}};
}

} // namespace

expert_shard_actor::behavior_type expert_shard(self_pointer self, std::shared_ptr<expert_shard_parts> parts) {
  self->state.parts = std::move(parts);
  self->send(self, report_atom_v);
  return {
      [self](const dispatch_rows& message) { return run(self, message); },
      [self](report_atom) {
        self->send(self->state.parts->supervisor, role_progress{self->state.parts->process, {self->state.steps}});
        self->delayed_send(self, limits::heartbeat_interval, report_atom_v);
      },
      [self](drain_atom) { return leave_cluster(self, self->state.parts->supervisor, self->state.parts->process); },
  };
}

} // namespace troupe
