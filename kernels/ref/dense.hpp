// Plain double-precision oracles of the dense operations: what every CPU and GPU kernel is compared with.
// Written to be obviously right; nothing outside tests and benches may use them.
#pragma once

#include "kernels/cpu/matrix.hpp"

#include <cstdint>
#include <vector>

namespace troupe::kernels::ref {

/// W as doubles, scales applied (model-spec.md section 9). [rows * cols]
std::vector<double> dequantize(const weight_view& w);
/// y[n, rows] = x[n, cols] Wᵀ
std::vector<double> matmul(const std::vector<double>& x, std::int64_t n, const std::vector<double>& w,
                           std::int64_t rows);
std::vector<double> matmul(const std::vector<double>& x, std::int64_t n, const weight_view& w);
/// down( silu(x gateᵀ) * (x upᵀ) ), x [n, hidden]
std::vector<double> swiglu(const std::vector<double>& x, std::int64_t n, const weight_view& gate, const weight_view& up,
                           const weight_view& down);
/// One row.
std::vector<double> rmsnorm(const std::vector<double>& x, const std::vector<double>& weight, double eps);
std::vector<double> softmax(const std::vector<double>& x);
double silu(double x);

} // namespace troupe::kernels::ref
