// troupe submit, and the job half of `troupe status JOB`.
#pragma once

#include "runtime/core/result.hpp"

#include <string>

namespace troupe::launch {

/// Prints how far a job is. `job` is what `troupe submit --detach` printed. Errors: not_found, disconnected.
result<void> print_job(const std::string& url, const std::string& api_key, const std::string& job);

} // namespace troupe::launch
