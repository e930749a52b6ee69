// What `serve`, `launch` and a recipe may set about serving; the supervisor hands it to every role process.
#pragma once

#include "runtime/core/limits.hpp"

#include <cstdint>
#include <string>

namespace troupe {

struct serving_options {
  std::string model_dir;            ///< as Hugging Face publishes it
  std::string load_format = "auto"; ///< "auto" (safetensors), "dummy" (random weights of config.json's shape)
  std::string device = "cpu";       ///< "cpu", "cuda" (each role its own GPU while there are enough), "cuda:N"
  std::string dtype = "auto";       ///< "auto" (the checkpoint's), "bfloat16", "float32"
  int threads = 0;                  ///< compute threads of each role process; 0 shares the machine's cores among them
  int max_num_seqs = limits::max_num_seqs_default;
  int max_num_batched_tokens = limits::max_num_batched_tokens_default;
  int max_model_len = limits::max_model_len_default;
  std::string kv_cache_dtype = "auto"; ///< "auto" (what is computed in), "bfloat16", "fp8_ds_mla" ("fp8")
  double kv_cache_ratio = limits::kv_cache_ratio_default;
  std::uint64_t seed = 0; ///< for requests that bring none
  bool speculative = true;
  bool deterministic = true; ///< a request's tokens depend on nothing but itself; GPUs only may do without
  std::string isa = "auto";  ///< of CPU kernels: "auto", "avx2", "avx512_bf16", "amx_bf16"; one for all roles
};

} // namespace troupe
