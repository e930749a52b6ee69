// How a role leaves: out of the view first, so that nobody sends to it any more, then out of the world.
#pragma once

#include "actors/interfaces.hpp"

#include <caf/typed_response_promise.hpp>

namespace troupe {

/// Answers drain_atom: asks the supervisor to show the cluster without this role; when every watcher has been told,
/// says so and ends the actor, once `finish_work` calls what it is given. A supervisor that does not answer is no
/// reason to stay.
template <class Self, class FinishWork>
caf::typed_response_promise<drained_atom> leave_cluster(Self* self, const supervisor_actor& supervisor,
                                                        process_id process, FinishWork finish_work) {
  auto promise = self->template make_response_promise<drained_atom>();
  auto leave = [self, promise]() mutable {
    promise.deliver(drained_atom_v);
    self->quit();
  };
  self->request(supervisor, limits::rpc_timeout, role_draining{process})
      .then([=](drained_atom) { finish_work(leave); }, [=](const caf::error&) { finish_work(leave); });
  return promise;
}

template <class Self>
caf::typed_response_promise<drained_atom> leave_cluster(Self* self, const supervisor_actor& supervisor,
                                                        process_id process) {
  return leave_cluster(self, supervisor, process, [](auto leave) { leave(); });
}

} // namespace troupe
