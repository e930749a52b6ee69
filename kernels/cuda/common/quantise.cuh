// The arithmetic of 1x128 quantisation: one place, so that a row gets the same bits wherever it is quantised.
#pragma once

#include "kernels/cuda/common/ptx.cuh"

namespace troupe::cuda {

/// x / y by a reciprocal of y and the exact remainder of a first quotient: correctly rounded but for rare last places.
__device__ inline float divide(float x, float y, float inverse) {
  const float q = x * inverse;
  return fmaf(fmaf(-q, y, x), inverse, q);
}

/// max(peak, 1e-4) / 448, correctly rounded.
__device__ inline float scale_of(float peak) { return divide(fmaxf(peak, 1e-4f), 448.0f, 1.0f / 448.0f); }

} // namespace troupe::cuda
