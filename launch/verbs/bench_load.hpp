// troupe bench load: how fast a checkpoint gets onto a GPU, beside reading its files.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds `load` to the verb `bench`.
void add_bench_load(CLI::App& bench);

} // namespace troupe::launch
