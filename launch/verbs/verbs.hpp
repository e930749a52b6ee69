// The verbs of the command line, one function and one file each. A verb adds its subcommand and options to `app`; its
// callback does the work and throws CLI::RuntimeError(status) to end with anything but 0.
#pragma once

#include <CLI/App.hpp>

namespace troupe::launch {

void add_serve(CLI::App& app);
void add_launch(CLI::App& app);
void add_role(CLI::App& app);
void add_status(CLI::App& app);
void add_bench(CLI::App& app);
void add_chat(CLI::App& app);
void add_submit(CLI::App& app);

} // namespace troupe::launch
