// The verbs of the command line, one function and one file each. A verb adds its subcommand and options to `app`; its
// callback does the work and ends with finish().
#pragma once

#include "runtime/core/result.hpp"

#include <CLI/App.hpp>

namespace troupe::launch {

/// Logs a failure and throws CLI::RuntimeError, which makes the process end with status 1.
void finish(const result<void>& outcome);

void add_serve(CLI::App& app);
void add_launch(CLI::App& app);
void add_role(CLI::App& app);
void add_status(CLI::App& app);
void add_bench(CLI::App& app);
void add_chat(CLI::App& app);
void add_submit(CLI::App& app);
void add_plan(CLI::App& app);

} // namespace troupe::launch
