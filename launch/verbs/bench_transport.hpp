// troupe bench transport: what a message between two processes costs in every lane, beside raw UCX and BASP.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds `transport` to the verb `bench`.
void add_bench_transport(CLI::App& bench);

} // namespace troupe::launch
