// Where flags come from beside the command line: a file (`--config FILE`) and the environment. The command line goes
// over the file, the file over the environment, and all of them over a recipe.
//
//   max-num-seqs: 16        the names of flags, without dashes in front; a list where a flag may be given several times
//   api-key: [first, second]
#pragma once

#include <CLI/App.hpp>

#include <string>

namespace troupe::launch {

/// Gives `app` the flag --config, whose file (YAML) is read for the verb that is run. Parsing throws CLI::ConfigError
/// for a key that is no flag of the verb, with its name.
void read_flags_from_file(CLI::App& app);

/// Lets every flag of `verb` be set by TROUPE_SERVE_..., e.g. TROUPE_SERVE_MAX_NUM_SEQS, and --config stand behind it.
/// The prefix is longer than TROUPE_ because Kubernetes sets TROUPE_PORT for a service of that name.
void read_flags_from_elsewhere(CLI::App& verb);

/// "--max-num-seqs" -> "TROUPE_SERVE_MAX_NUM_SEQS".
std::string variable_of(std::string flag);

} // namespace troupe::launch
