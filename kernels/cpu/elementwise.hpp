// Small row-wise operations in fp32. Their order is fixed, so bits are equal on every machine.
#pragma once

#include <cstdint>

namespace troupe::kernels {

/// y = w * x / sqrt(mean(x²) + eps), one row of `n` floats (model-spec.md section 4). y may be x.
void rmsnorm(const float* x, const float* weight, std::int64_t n, float eps, float* y);

/// y += x.
void add(const float* x, std::int64_t n, float* y);
/// y += factor * x: the combine of expert outputs; product and sum are rounded separately.
void add_scaled(const float* x, float factor, std::int64_t n, float* y);
/// y = silu(gate) * up, silu(a) = a / (1 + exp(-a)).
void silu_multiply(const float* gate, const float* up, std::int64_t n, float* y);
/// Rounds to bf16 and back, in place.
void round_to_bf16(float* x, std::int64_t n);
/// x = exp(x - max) / sum, in place; n >= 1.
void softmax(float* x, std::int64_t n);
/// log(sum(exp(x))), with double accumulation: the denominator of logprobs; n >= 1.
double log_sum_exp(const float* x, std::int64_t n);

} // namespace troupe::kernels
