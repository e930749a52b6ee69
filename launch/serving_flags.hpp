// The flags that `serve`, `launch` and benches share.
#pragma once

#include "launch/recipe.hpp"

#include <CLI/App.hpp>

namespace troupe::launch {

/// Adds the flags; a given flag overwrites its field when the command line is parsed, others stay untouched.
void add_front_flags(CLI::App& app, front_options& front);
void add_serving_flags(CLI::App& app, serving_options& serving);

} // namespace troupe::launch
