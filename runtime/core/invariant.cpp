#include "runtime/core/invariant.hpp"

#include <cstdio>
#include <cstdlib>

namespace troupe {

void invariant_broken(std::string_view what, const char* file, int line) {
  std::fprintf(stderr, "troupe: broken invariant: %.*s (%s:%d)\n", static_cast<int>(what.size()), what.data(), file,
               line);
  std::abort();
}

} // namespace troupe
