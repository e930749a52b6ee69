#include "launch/verbs/verbs.hpp"
#include "runtime/core/log.hpp"

#include <CLI/Error.hpp>

namespace troupe::launch {

void finish(const result<void>& outcome) {
  if (outcome) return;
  log::error("{}", outcome.error().message);
  throw CLI::RuntimeError(1);
}

} // namespace troupe::launch
