#include "runtime/core/invariant.hpp"

#include <cstdio>
#include <cstdlib>

namespace troupe {

void invariant_broken(std::string_view what, const std::source_location& where) {
  std::fprintf(stderr, "troupe: broken invariant: %.*s (%s:%u)\n", static_cast<int>(what.size()), what.data(),
               where.file_name(), static_cast<unsigned>(where.line()));
  std::abort();
}

} // namespace troupe
