// Programmer errors inside kernels/ stop the process, in release builds too; the supervisor restarts it.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace troupe::kernels {

inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "kernels: %s\n", what);
  std::abort();
}

} // namespace troupe::kernels
