// Random FP8 operands with block scales, and their product in double: the W8A8 emulation of model-spec.md section 9.
#pragma once

#include "kernels/tensor_type.hpp"

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace troupe::test {

struct fp8_random {
  std::mt19937 random;
  explicit fp8_random(unsigned seed) : random(seed) {}

  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }
  /// e4m3 values of any sign and magnitude up to 288.
  std::vector<std::uint8_t> values(std::size_t n) {
    std::vector<std::uint8_t> v(n);
    for (auto& b : v) do
        b = static_cast<std::uint8_t>(random());
      while ((b & 0x7F) > 0x70);
    return v;
  }
  /// Scales that give products of `width` inputs a magnitude near one.
  std::vector<float> scales(std::size_t n, int width) {
    std::vector<float> s(n);
    for (auto& v : s) v = uniform(0.5f, 1.5f) / (60.0f * std::sqrt(std::sqrt(float(width))));
    return s;
  }
};

/// sum over K of w * x with per-128 scales of both; consecutive blocks of x have scales `x_step` apart.
inline double scaled_dot(const std::uint8_t* w, const float* w_scales, const std::uint8_t* x, const float* x_scales,
                         std::size_t x_step, int k) {
  double sum = 0;
  for (int block = 0; block < k / 128; ++block) {
    double part = 0;
    for (int i = block * 128; i < block * 128 + 128; ++i)
      part += double(kernels::f8_e4m3_to_float(w[i])) * kernels::f8_e4m3_to_float(x[i]);
    sum += part * w_scales[block] * x_scales[block * x_step];
  }
  return sum;
}

} // namespace troupe::test
