// troupe bench cluster: what four processes cost against one, on the same model and machine.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds `cluster` to the verb `bench`.
void add_bench_cluster(CLI::App& bench);

} // namespace troupe::launch
