// Loops of independent 16-lane partial sums: the order is spelled out, so the compiler may not change it.
#include "kernels/cpu/elementwise.hpp"

#include "kernels/cpu/bf16.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::kernels {
namespace {

constexpr std::int64_t lanes = 16;

/// Sum of squares: lane l takes elements l, l + 16, ...; lanes are then added in pairs.
float sum_of_squares(const float* x, std::int64_t n) {
  float sums[lanes]{};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t l = 0; l < lanes; ++l) sums[l] += x[i + l] * x[i + l];
  for (std::int64_t l = 0; i + l < n; ++l) sums[l] += x[i + l] * x[i + l];
  for (auto width = lanes / 2; width > 0; width /= 2)
    for (std::int64_t l = 0; l < width; ++l) sums[l] += sums[l + width];
  return sums[0];
}

} // namespace

void rmsnorm(const float* x, const float* weight, std::int64_t n, float eps, float* y) {
  const float factor = 1.0f / std::sqrt(sum_of_squares(x, n) / static_cast<float>(n) + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

void add(const float* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void add_scaled(const float* x, float factor, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

void silu_multiply(const float* gate, const float* up, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void round_to_bf16(float* x, std::int64_t n) { round_floats(x, x, n); }

void softmax(float* x, std::int64_t n) {
  const float largest = *std::max_element(x, x + n);
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - largest);
  for (std::int64_t i = 0; i < n; ++i) x[i] /= sum;
}

double log_sum_exp(const float* x, std::int64_t n) {
  const double largest = *std::max_element(x, x + n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
  return largest + std::log(sum);
}

} // namespace troupe::kernels
