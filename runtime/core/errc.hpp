// One table of errors, sorted by what the caller should do. A code exists only if some caller branches on it;
// everything else goes into the message of an `error`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

enum class errc : std::uint8_t {
  /// The caller's input is wrong; the same call fails again. Report it: HTTP 400.
  bad_input = 1,
  /// The named thing does not exist (model, job, role). HTTP 404.
  not_found,
  /// A named limit is reached; try again later, with back-off. HTTP 429 or 503 with Retry-After.
  overloaded,
  /// The peer or role went away; reconnect and redo. HTTP 503.
  disconnected,
  /// Known but not built here (a dtype, a rope type, a missing engine); fall back. HTTP 501.
  unsupported,
  /// The request was cancelled by its owner. Nothing to report.
  cancelled,
  /// A broken invariant of ours. Report it; the process should be restarted. HTTP 500.
  bug,
};

/// "bad_input", "overloaded", ...: the name a log line and an HTTP body carry.
std::string_view to_string(errc code);

/// A failed operation: what to do (`code`) and one line for a person (`message`: file, field, reason).
struct error {
  errc code = errc::bug;
  std::string message;
  int retry_after_s = 0; ///< of overloaded: when to come again; 0 leaves the guess to the caller
};

} // namespace troupe
