#include "launch/cluster_calls.hpp"

#include <caf/scoped_actor.hpp>

#include <unistd.h>

namespace troupe::launch {

result<role_assignment> join(caf::actor_system& system, const supervisor_actor& supervisor, const std::string& name) {
  result<role_assignment> out = error{errc::disconnected, "the supervisor does not answer"};
  caf::scoped_actor self{system};
  self->request(supervisor, limits::rpc_timeout, join_cluster{name, getpid()})
      .receive([&](role_assignment& assignment) { out = std::move(assignment); },
               [&](const caf::error& e) {
                 out = error{errc::disconnected, name + " cannot join: " + system.render(e)};
               });
  return out;
}

bool drain(caf::actor_system& system, const caf::actor& role, std::chrono::milliseconds timeout) {
  bool drained = false;
  caf::scoped_actor self{system};
  self->request(role, timeout, drain_atom_v).receive([&](drained_atom) { drained = true; }, [](const caf::error&) {});
  return drained;
}

} // namespace troupe::launch
