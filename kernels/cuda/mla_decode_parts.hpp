// The two kernels behind mla_decode: attention of each split of the positions. Plain C++ header.
#pragma once

#include "kernels/cuda/mla_decode.hpp"

namespace troupe::cuda {

/// Fills `out` with one split, else `partial_out` and `partial_lse`. Arguments are checked, requests > 0.
cudaError_t sm80_mla_decode_parts(const mla_decode_args& args, cudaStream_t stream);
cudaError_t sm90_mla_decode_parts(const mla_decode_args& args, cudaStream_t stream);

} // namespace troupe::cuda
