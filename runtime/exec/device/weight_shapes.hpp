// What a GPU engine decides about weights before it loads them: which shapes its kernels have, what stays FP8, and how
// kv_b is cut up for absorbed attention.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "kernels/cpu/thread_pool.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>
#include <vector>

namespace troupe::exec {

/// Whether the kernels have this model's shape. Pure. Errors: unsupported naming the field.
result<void> check_device_shape(const model::model_config& config);
/// Whether a feed-forward block of FP8 weights can run on the FP8 kernels; else it becomes BF16. Pure.
bool fits_fp8_ffn(int hidden, int width, int experts, int block_rows, int block_cols);

/// kv_b [heads * (nope + value), latent] cut up for absorbed attention: `key` [heads, latent, nope] is W_UK transposed,
/// `values` [heads, value, latent] is W_UV, both rounded to bf16. Pure.
struct absorbed_kv_b {
  std::vector<std::uint16_t> key, values;
};
absorbed_kv_b split_kv_b(const kernels::weight_view& kv_b, int heads, int nope, int value, kernels::thread_pool& pool);

} // namespace troupe::exec
