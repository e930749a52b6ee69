#include "actors/gateways/job_gateway.hpp"

#include "actors/gateways/job_runner.hpp"
#include "actors/gateways/job_table.hpp"
#include "actors/gateways/rpc_error.hpp"

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <memory>

namespace troupe {

namespace {

/// Numbers of an earlier life of the process mean nothing: seconds since 1970 above, a counter below.
std::uint64_t first_job() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()) * 1000;
}

struct job_gateway_state {
  job_table table{first_job()};
  std::unique_ptr<job_runner> runner;
};

using self_pointer = job_gateway_actor::stateful_pointer<job_gateway_state>;

void start_lines(self_pointer self) {
  while (auto line = self->state.table.next()) self->state.runner->run(*std::move(line));
}

template <class T>
caf::result<T> reply(result<T> answer) {
  if (answer) return *std::move(answer);
  return to_rpc_error(answer.error());
}

void on_line_finished(self_pointer self, line_finished& end) {
  auto& table = self->state.table;
  if (end.again) {
    table.put_back({end.job, end.line, std::move(end.answer)});
    self->delayed_send(self, limits::job_retry_delay, retry_atom_v);
    return;
  }
  table.finish(end.job, end.ok, std::move(end.answer), clock::now());
  start_lines(self);
}

job_gateway_actor::behavior_type behavior(self_pointer self, completion_service* completions) {
  const auto weak = caf::actor_cast<caf::weak_actor_ptr>(self);
  self->state.runner = std::make_unique<job_runner>(*completions, [weak](line_end end) {
    const auto target = caf::actor_cast<job_gateway_actor>(weak);
    if (!target) return;
    line_finished message{end.line.job, end.line.line, end.ok, end.again, std::move(end.answer)};
    if (end.again) message.answer = std::move(end.line.text);
    caf::anon_send(target, std::move(message));
  });
  return {
      [self](submit_job& message) {
        auto added = self->state.table.add(std::move(message.lines), clock::now());
        start_lines(self);
        return reply(std::move(added));
      },
      [self](const get_job& message) { return reply(self->state.table.progress(message.job, clock::now())); },
      [self](const cancel_job& message) {
        self->state.runner->cancel(message.job);
        return reply(self->state.table.cancel(message.job, clock::now()));
      },
      [self](const fetch_results& message) { return reply(self->state.table.results(message, clock::now())); },
      [self](line_finished& message) { on_line_finished(self, message); },
      [self](retry_atom) { start_lines(self); },
  };
}

} // namespace

job_gateway_actor spawn_job_gateway(caf::actor_system& system, completion_service& completions) {
  return system.spawn(behavior, &completions);
}

} // namespace troupe
