// The part of /metrics that the roles count themselves: requests, cache, steps, drafts, restarts.
#pragma once

#include "actors/generation_service.hpp"

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace troupe {

/// Families without a role to show are left out. Names and labels as in metrics.hpp.
std::vector<prometheus::MetricFamily> role_families(const cluster_status& cluster, const std::string& model_name);

} // namespace troupe
