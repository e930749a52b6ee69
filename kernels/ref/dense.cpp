#include "kernels/ref/dense.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::kernels::ref {

std::vector<double> dequantize(const weight_view& w) {
  std::vector<double> out;
  std::vector<float> row(static_cast<std::size_t>(w.cols));
  for (std::int64_t r = 0; r < w.rows; ++r) {
    dequantize_row(w, r, row.data());
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

std::vector<double> matmul(const std::vector<double>& x, std::int64_t n, const std::vector<double>& w,
                           std::int64_t rows) {
  const auto cols = static_cast<std::int64_t>(w.size()) / rows;
  std::vector<double> y(static_cast<std::size_t>(n * rows));
  for (std::int64_t r = 0; r < n; ++r)
    for (std::int64_t o = 0; o < rows; ++o)
      for (std::int64_t k = 0; k < cols; ++k) y[r * rows + o] += x[r * cols + k] * w[o * cols + k];
  return y;
}

std::vector<double> matmul(const std::vector<double>& x, std::int64_t n, const weight_view& w) {
  return matmul(x, n, dequantize(w), w.rows);
}

double silu(double x) { return x / (1 + std::exp(-x)); }

std::vector<double> swiglu(const std::vector<double>& x, std::int64_t n, const weight_view& gate, const weight_view& up,
                           const weight_view& down) {
  auto hidden = matmul(x, n, gate);
  const auto ups = matmul(x, n, up);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = silu(hidden[i]) * ups[i];
  return matmul(hidden, n, down);
}

std::vector<double> rmsnorm(const std::vector<double>& x, const std::vector<double>& weight, double eps) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = weight[i] * x[i] * factor;
  return y;
}

std::vector<double> softmax(const std::vector<double>& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double v : x) sum += std::exp(v - largest);
  std::vector<double> y;
  for (const double v : x) y.push_back(std::exp(v - largest) / sum);
  return y;
}

} // namespace troupe::kernels::ref
