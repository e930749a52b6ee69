#include "runtime/exec/cache_dtype.hpp"

namespace troupe::exec {

result<cache_dtype> parse_cache_dtype(std::string_view name) {
  if (name == "auto") return cache_dtype::automatic;
  if (name == "bfloat16") return cache_dtype::bfloat16;
  if (name == "fp8_ds_mla" || name == "fp8") return cache_dtype::fp8_ds_mla;
  return error{errc::bad_input, "KV cache dtype '" + std::string(name) + "': auto, bfloat16, fp8_ds_mla or fp8"};
}

result<kernels::cache_format> choose_cache(cache_dtype dtype, const model::model_config& config,
                                           std::int64_t element_bytes) {
  if (dtype == cache_dtype::bfloat16 && element_bytes != 2)
    return error{errc::unsupported, "KV cache dtype bfloat16: an engine that computes in float32 caches float32 (auto) "
                                    "or fp8_ds_mla"};
  if (dtype != cache_dtype::fp8_ds_mla) return kernels::cache_format::plain;
  if (config.kv_lora_rank % kernels::cache_group != 0)
    return error{errc::unsupported,
                 "KV cache dtype fp8_ds_mla: a scale is for " + std::to_string(kernels::cache_group) +
                     " channels, and this model's kv_lora_rank is " + std::to_string(config.kv_lora_rank)};
  return kernels::cache_format::fp8_ds_mla;
}

std::string name_suffix(kernels::cache_format format) {
  return format == kernels::cache_format::plain ? "" : "/fp8_ds_mla";
}

} // namespace troupe::exec
