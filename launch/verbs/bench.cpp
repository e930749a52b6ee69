#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>

namespace troupe::launch {

void add_bench(CLI::App&) {}

} // namespace troupe::launch
