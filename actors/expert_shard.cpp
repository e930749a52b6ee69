#include "actors/expert_shard.hpp"

#include "actors/role_lifetime.hpp"

#include <utility>

namespace troupe {

namespace {

using self_pointer = expert_shard_actor::stateful_pointer<expert_shard_state>;

rows_done compute(expert_desk& desk, const dispatch_rows& message) {
  const auto begin = clock::now();
  auto output = desk.parts->engine->run(message.batch);
  ++desk.answered;
  if (!output) return {message.ticket, {}, output.error().message};
  desk.pace.learn(message.batch.experts.size(), clock::now() - begin);
  return {message.ticket, std::move(*output), {}};
}

expert_helper_actor::behavior_type expert_helper(std::shared_ptr<expert_desk> desk) {
  return {
      [desk](const dispatch_rows& message) {
        auto done = compute(*desk, message);
        --desk->with_helper;
        return done;
      },
      [](drain_atom) { return drained_atom_v; },
  };
}

/// Batches are never computed at the same time: while the helper has some, all go there.
caf::result<rows_done> take(self_pointer self, const dispatch_rows& message) {
  auto& state = self->state;
  if (state.desk->with_helper == 0 && state.desk->pace.within(message.batch.experts.size(), limits::inline_batch_max))
    return compute(*state.desk, message);
  ++state.desk->with_helper;
  return self->delegate(state.helper, message);
}

} // namespace

expert_shard_actor::behavior_type expert_shard(self_pointer self, std::shared_ptr<expert_shard_parts> parts) {
  self->state.desk = std::make_shared<expert_desk>();
  self->state.desk->parts = std::move(parts);
  self->state.helper = self->spawn<caf::linked>(expert_helper, self->state.desk);
  self->send(self, report_atom_v);
  return {
      [self](const dispatch_rows& message) { return take(self, message); },
      [self](report_atom) {
        const auto& [p, pace, answered, with_helper] = *self->state.desk;
        self->send(p->supervisor, role_progress{p->process, {answered, with_helper}});
        self->delayed_send(self, limits::heartbeat_interval, report_atom_v);
      },
      [self](drain_atom) {
        const auto& p = *self->state.desk->parts;
        return leave_cluster(self, p.supervisor, p.process, [self](auto leave) {
          self->request(self->state.helper, caf::infinite, drain_atom_v)
              .then([leave](drained_atom) mutable { leave(); }, [leave](const caf::error&) mutable { leave(); });
        });
      },
  };
}

} // namespace troupe
