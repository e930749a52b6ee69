// What a GPU engine decides about weights before it loads them: which shapes its kernels have, what stays FP8, and how
// kv_b is cut up for absorbed attention.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>

namespace troupe::exec {

/// Whether the kernels have this model's shape. Pure. Errors: unsupported naming the field.
result<void> check_device_shape(const model::model_config& config);
/// Whether Hopper's grouped kernels have routed experts of this shape. Pure.
bool fits_grouped_ffn(int hidden, int width, int experts);
/// Whether a feed-forward block of FP8 weights can run on the FP8 kernels; else it becomes BF16. Pure.
bool fits_fp8_ffn(int hidden, int width, int experts, int block_rows, int block_cols);

/// Head `head` of kv_b [heads * (nope + value), latent], cut up for absorbed attention and rounded to bf16: `key`
/// [latent, nope] is W_UK transposed, `values` [value, latent] is W_UV. Pure.
void split_key(const kernels::weight_view& kv_b, int head, int nope, int value, std::uint16_t* key);
void split_values(const kernels::weight_view& kv_b, int head, int nope, int value, std::uint16_t* values);

} // namespace troupe::exec
