// The two ways to run a company. Both end on SIGTERM or SIGINT: the router drains, then the roles leave.
#pragma once

#include "launch/front.hpp"
#include "launch/recipe.hpp"
#include "runtime/core/result.hpp"

#include <functional>

namespace troupe::launch {

/// Runs in a thread of its own once the company is ready; when it returns, the company drains as on SIGTERM.
using visitor = std::function<void(front&)>;

/// All roles in this process; the kv_cache calls its experts without a hop. Returns when it has drained.
/// Errors: whatever kept it from starting.
result<void> run_in_one_process(const recipe& plan, const visitor& visit = {});

/// Supervisor, router and gateways here, every other role in a child process. Returns when the last child has ended.
/// Errors: whatever kept it from starting; bug when a child ended badly during the drain.
result<void> run_in_processes(const recipe& plan, const visitor& visit = {});

} // namespace troupe::launch
