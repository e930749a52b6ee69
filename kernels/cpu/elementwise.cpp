// The frequent operations are in row_loops.hpp; the others are baseline code.
#include "kernels/cpu/elementwise.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/row_kernels.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::kernels {

void rmsnorm(const float* x, const float* weight, std::int64_t n, float eps, float* y) {
  const auto& row = row_kernels_here();
  row.scale(x, weight, 1.0f / std::sqrt(row.sum_of_squares(x, n) / static_cast<float>(n) + eps), n, y);
}

void add(const float* x, std::int64_t n, float* y) { row_kernels_here().add(x, n, y); }

void add_scaled(const float* x, float factor, std::int64_t n, float* y) {
  row_kernels_here().add_scaled(x, factor, n, y);
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
