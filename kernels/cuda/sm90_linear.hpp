// `linear` on Hopper's own tensor cores, for any number of tokens: the weights' bytes at the speed of memory up to 64
// tokens, 64 tokens at a time above. Same arguments, other bits: its sums follow another order. Asynchronous,
// allocates nothing. Plain C++ header.
#pragma once

#include "kernels/cuda/linear.hpp"

namespace troupe::cuda {

/// CTAs that share one strip of 256 weight rows, each a range of K: 1, 2, 4 or 8. Pure; ignores tokens, so that a row's
/// bits don't depend on its batch.
int sm90_linear_splits(int rows, int cols, bool fp8, int groups);

cudaError_t sm90_linear(const linear_args& args, cudaStream_t stream);

} // namespace troupe::cuda
