// `--kv-cache-dtype`: how the latent cache stores a position (kernels/cache_format.hpp), in the words of vLLM.
#pragma once

#include "kernels/cache_format.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/config.hpp"

#include <string>
#include <string_view>

namespace troupe::exec {

/// automatic: what the engine computes in.
enum class cache_dtype : std::uint8_t { automatic, bfloat16, fp8_ds_mla };
/// "auto", "bfloat16", "fp8_ds_mla" or, for short, "fp8". Errors: bad_input naming these.
result<cache_dtype> parse_cache_dtype(std::string_view name);

/// The format of an engine that computes in elements of so many bytes. Errors: unsupported where the model's latent is
/// not cut into whole groups of channels that share a scale, and for bf16 beside float32.
result<kernels::cache_format> choose_cache(cache_dtype dtype, const model::model_config& config,
                                           std::int64_t element_bytes = 2);

/// Of an engine's name, within which numbers agree bit by bit.
std::string name_suffix(kernels::cache_format format);

} // namespace troupe::exec
