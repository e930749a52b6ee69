// The two Hopper ways behind `linear`. Arguments are checked, there is something to do. Asynchronous, allocate nothing.
// Plain C++ header.
#pragma once

#include "kernels/cuda/linear.hpp"

namespace troupe::cuda {

/// A row's bits do not depend on its batch: persistent warps for up to 8 tokens (sm90_linear_few.cu), a ring in shared
/// memory for more (sm90_linear_many.cu), mma.sync in the same order in both.
cudaError_t sm90_linear(const linear_args& args, cudaStream_t stream);

/// On Hopper's own tensor cores, for many tokens: up to 64 at the speed of the weights' bytes, 64 at a time above.
/// Other bits than sm90_linear, its sums follow another order; a row's bits do not depend on its batch among its own
/// results.
cudaError_t wide_linear(const linear_args& args, cudaStream_t stream);

/// CTAs of wide_linear that share one strip of 256 weight rows, each a range of K: 1, 2, 4 or 8. Pure; ignores tokens.
int wide_linear_splits(int rows, int cols, bool fp8, int groups);

} // namespace troupe::cuda
