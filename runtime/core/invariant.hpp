// Invariants stay on in release: a broken one stops the process, and the supervisor restarts it.
#pragma once

#include <source_location>
#include <string_view>

namespace troupe {

/// Prints `what` with its place to stderr and aborts.
[[noreturn]] void invariant_broken(std::string_view what, const std::source_location& where);

/// Stops the process when `holds` is false. For programmer errors only; operating errors are results.
inline void invariant(bool holds, std::string_view what,
                      const std::source_location& where = std::source_location::current()) {
  if (!holds) [[unlikely]]
    invariant_broken(what, where);
}

} // namespace troupe
