// Invariants stay on in release: a broken one stops the process, and the supervisor restarts it.
#pragma once

#include <string_view>

namespace troupe {

/// Prints `what` with its place to stderr and aborts.
[[noreturn]] void invariant_broken(std::string_view what, const char* file, int line);

/// Stops the process when `holds` is false. For programmer errors only; operating errors are results.
/// (The builtins, because std::source_location does not compile with Debian 12's clang 14.)
inline void invariant(bool holds, std::string_view what, const char* file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
  if (!holds) [[unlikely]]
    invariant_broken(what, file, line);
}

} // namespace troupe
