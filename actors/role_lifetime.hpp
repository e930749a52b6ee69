// How a role leaves: out of the view first, so that nobody sends to it any more, then out of the world.
#pragma once

#include "actors/interfaces.hpp"

#include <caf/typed_response_promise.hpp>

namespace troupe {

/// Answers drain_atom: asks the supervisor to show the cluster without this role; when every watcher has been told,
/// says so and ends the actor. A supervisor that does not answer is no reason to stay.
template <class Self>
caf::typed_response_promise<drained_atom> leave_cluster(Self* self, const supervisor_actor& supervisor,
                                                        process_id process) {
  auto promise = self->template make_response_promise<drained_atom>();
  auto leave = [self, promise]() mutable {
    promise.deliver(drained_atom_v);
    self->quit();
  };
  self->request(supervisor, limits::rpc_timeout, role_draining{process})
      .then([leave](drained_atom) mutable { leave(); }, [leave](const caf::error&) mutable { leave(); });
  return promise;
}

} // namespace troupe
