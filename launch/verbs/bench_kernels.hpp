// troupe bench kernels: CUDA kernels against their targets and this card's ceilings.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds `kernels` to the verb `bench`.
void add_bench_kernels(CLI::App& bench);

} // namespace troupe::launch
