// troupe bench serve: load on a running server, in the manner of `vllm bench serve`.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds `serve` to the verb `bench`.
void add_bench_serve(CLI::App& bench);

} // namespace troupe::launch
