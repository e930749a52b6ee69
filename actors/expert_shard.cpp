#include "actors/expert_shard.hpp"

#include "actors/role_lifetime.hpp"
#include "runtime/net/ucx/host_identity.hpp"

#include <utility>

namespace troupe {

namespace {

using self_pointer = expert_shard_actor::stateful_pointer<expert_shard_state>;

std::size_t pairs_of(const dispatch_rows& message) { return message.batch.experts.size(); }
std::size_t pairs_of(const dispatch_mapped& message) {
  return static_cast<std::size_t>(message.batch.row_count) * static_cast<std::size_t>(message.batch.experts_per_row);
}

rows_done answer(exec::expert_engine& engine, const dispatch_rows& message) {
  auto output = engine.run(message.batch);
  if (!output) return {message.ticket, {}, output.error().message};
  return {message.ticket, std::move(*output), {}};
}

mapped_done answer(exec::expert_engine& engine, const dispatch_mapped& message) {
  if (message.host != net::this_host()) return {message.ticket, {}, errc::unsupported, "the rows are on another host"};
  const auto outputs = engine.run_mapped(message.batch, message.ticket);
  if (!outputs) return {message.ticket, {}, outputs.error().code, outputs.error().message};
  return {message.ticket, *outputs, {}, {}};
}

template <class Message>
auto compute(expert_desk& desk, const Message& message) {
  const auto begin = clock::now();
  auto done = answer(*desk.parts->engine, message);
  ++desk.answered;
  if (done.failure.empty()) desk.pace.learn(pairs_of(message), clock::now() - begin);
  return done;
}

template <class Message>
auto compute_for_shard(expert_desk& desk, const Message& message) {
  auto done = compute(desk, message);
  --desk.with_helper;
  return done;
}

expert_helper_actor::behavior_type expert_helper(std::shared_ptr<expert_desk> desk) {
  return {
      [desk](const dispatch_rows& message) { return compute_for_shard(*desk, message); },
      [desk](const dispatch_mapped& message) { return compute_for_shard(*desk, message); },
      [](drain_atom) { return drained_atom_v; },
  };
}

/// Batches are never computed at the same time: while the helper has some, all go there. So they are computed in the
/// order they came.
template <class Done, class Message>
caf::result<Done> take(self_pointer self, const Message& message) {
  auto& state = self->state;
  if (state.desk->with_helper == 0 && state.desk->pace.within(pairs_of(message), limits::inline_batch_max))
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
      [self](const dispatch_rows& message) { return take<rows_done>(self, message); },
      [self](const dispatch_mapped& message) { return take<mapped_done>(self, message); },
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
