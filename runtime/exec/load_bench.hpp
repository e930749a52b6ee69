// How fast a checkpoint gets onto a device, beside reading its files: the numbers of `troupe bench load`.
#pragma once

#include "runtime/core/result.hpp"

#include <cstdint>
#include <string>

namespace troupe::exec {

struct load_bench_options {
  std::string model;           ///< folder of the checkpoint
  std::string device = "cuda"; ///< or "cuda:N"
  int threads = 8;             ///< of reading: as many as the CUDA engine's uploader has
  bool cold = false;           ///< files leave the page cache before each pass: the disk is measured
  int rounds = 3;              ///< reading and loading take turns; the best of each count
};

struct load_figures {
  std::string device;     ///< as device_plugin::name()
  std::int64_t bytes = 0; ///< of the files
  double read_s = 0;      ///< read() of all files, thrown away
  double load_s = 0;      ///< until everything is in device memory, allocations included
};

/// The files come from the page cache if they fit and unless `cold`, else from the disk, for both. Errors: bad_input
/// (the model, a device that is none), unsupported, overloaded (device memory).
result<load_figures> bench_load(const load_bench_options& options);

} // namespace troupe::exec
