// The yardstick of every memory-bound kernel: what reading device memory reaches. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace troupe::cuda {

/// Reads `bytes` (a multiple of 16) once and keeps nothing; `sink` is a word that is all but never written.
cudaError_t read_only(const void* data, std::size_t bytes, unsigned* sink, cudaStream_t stream);

} // namespace troupe::cuda
