// Jobs through actor RPC: many OpenAI batch requests in, as many answers out, without a connection that has to live as
// long. Sits beside the router; jobs are kept in memory, so they end with its process.
//
//   client ──submit_job──▶ job_gateway ──a few lines at a time──▶ completion_task ─▶ generation_service
//          ──get_job─────▶      ◀── line_finished ──────────────────────┘
//          ──fetch_results▶
#pragma once

#include "actors/gateways/completion_service.hpp"
#include "actors/gateways/job_messages.hpp"

#include <caf/actor_system.hpp>

namespace troupe {

/// Starts the actor. `completions` must outlive it: send it an exit and wait before the service goes.
/// Publish it with net::carrier, and tell http_gateway_options::job_address where.
job_gateway_actor spawn_job_gateway(caf::actor_system& system, completion_service& completions);

} // namespace troupe
