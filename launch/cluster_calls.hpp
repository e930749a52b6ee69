// Calls that the composition root makes into the company: from plain code, blocking, with a timeout.
#pragma once

#include "actors/interfaces.hpp"
#include "runtime/core/result.hpp"

#include <caf/actor_system.hpp>

#include <chrono>
#include <string>

namespace troupe::launch {

/// Errors: disconnected with the supervisor's reason.
result<role_assignment> join(caf::actor_system& system, const supervisor_actor& supervisor, const std::string& name);

/// Sends drain_atom and waits; false if no answer came in time.
bool drain(caf::actor_system& system, const caf::actor& role, std::chrono::milliseconds timeout);

} // namespace troupe::launch
