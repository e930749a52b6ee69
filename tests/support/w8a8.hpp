// What FP8 activations do to a value: the emulation that the GPU's W8A8 products are compared with (model-spec.md 9).
#pragma once

#include "kernels/tensor_type.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace troupe::testing {

/// Nearest e4m3 number, ties to even; saturates at 448.
inline double round_to_e4m3(double value) {
  const double size = std::min(std::abs(value), 448.0);
  if (size == 0) return 0;
  const double step = std::exp2(std::max(std::ilogb(size), -6) - 3);
  return std::copysign(std::min(std::nearbyint(size / step) * step, 448.0), value);
}

/// Rounds `count` values to bf16 and then, in groups of 128 with one scale each, to e4m3.
inline void quantise_activations(double* values, std::size_t count) {
  for (std::size_t first = 0; first < count; first += 128) {
    const auto end = std::min(first + 128, count);
    float peak = 0;
    for (auto i = first; i < end; ++i) {
      const auto rounded = kernels::bf16_to_float(kernels::float_to_bf16(static_cast<float>(values[i])));
      values[i] = rounded, peak = std::max(peak, std::abs(rounded));
    }
    const float scale = std::max(peak, 1e-4f) / 448.0f;
    for (auto i = first; i < end; ++i)
      values[i] = round_to_e4m3(static_cast<float>(values[i]) / scale) * static_cast<double>(scale);
  }
}

} // namespace troupe::testing
