// Choices made once at start: instruction set, number format, threads; and the config in the kernels' words.
#include "runtime/exec/cpu_weights.hpp"

#include <algorithm>
#include <thread>

namespace troupe::exec {

result<cpu_dtype> parse_dtype(std::string_view name) {
  if (name == "auto") return cpu_dtype::automatic;
  if (name == "float32") return cpu_dtype::float32;
  if (name == "bfloat16") return cpu_dtype::bfloat16;
  return error{errc::bad_input, "dtype '" + std::string(name) + "': auto, float32 or bfloat16"};
}

namespace {

kernels::compute_type compute_type_of(const weight_source& weights, cpu_dtype dtype) {
  const bool float32 =
      dtype == cpu_dtype::float32 ||
      (dtype == cpu_dtype::automatic && weights.type_of("model.embed_tokens.weight") == kernels::tensor_type::f32);
  return float32 ? kernels::compute_type::float32 : kernels::compute_type::bfloat16;
}

} // namespace

moe::element cpu_element(const weight_source& weights, const cpu_options& options) {
  return compute_type_of(weights, options.dtype) == kernels::compute_type::float32 ? moe::element::f32
                                                                                   : moe::element::bf16;
}

result<cpu_device> open_cpu(const weight_source& weights, const cpu_options& options) {
  const auto set = options.isa ? options.isa : kernels::best_isa();
  if (!set) return error{errc::unsupported, "the CPU engine needs AVX2 and FMA; this machine has neither"};
  if (!kernels::supported(*set))
    return error{errc::unsupported, "this machine does not run " + std::string(kernels::name_of(*set))};
  const auto cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const auto pool = options.pool
                        ? options.pool
                        : std::make_shared<kernels::thread_pool>(options.threads > 0 ? options.threads : cores);
  return cpu_device{{*set, compute_type_of(weights, options.dtype)}, pool};
}

result<kernels::cache_format> choose_cache(cache_dtype dtype, const model::model_config& config,
                                           const cpu_device& device) {
  return choose_cache(dtype, config, device.target.compute == kernels::compute_type::float32 ? 4 : 2);
}

kernels::rope_config rope_config_of(const model::model_config& config) {
  kernels::rope_config rope{
      .dim = config.qk_rope_head_dim, .base = config.rope_theta, .yarn = {}, .interleaved = config.rope_interleave};
  if (const auto& y = config.yarn)
    rope.yarn = {.factor = y->factor,
                 .original_max_position = y->original_max_position_embeddings,
                 .beta_fast = y->beta_fast,
                 .beta_slow = y->beta_slow,
                 .mscale = y->mscale,
                 .mscale_all_dim = y->mscale_all_dim,
                 .attention_factor = y->attention_factor,
                 .truncate = y->truncate};
  return rope;
}

kernels::mla_shape mla_shape_of(const model::model_config& config) {
  return {.heads = config.head_count,
          .nope = config.qk_nope_head_dim,
          .rope = config.qk_rope_head_dim,
          .value = config.v_head_dim,
          .latent = config.kv_lora_rank,
          .scale = kernels::softmax_scale(rope_config_of(config), config.qk_head_dim())};
}

kernels::gate_config gate_config_of(const model::model_config& config) {
  using model::scoring;
  using model::topk_method;
  const auto method = config.topk == topk_method::noaux_tc ? kernels::gate_method::noaux_tc
                      : config.topk == topk_method::greedy ? kernels::gate_method::greedy
                                                           : kernels::gate_method::group_limited_greedy;
  return {.experts = config.expert_count,
          .top_k = config.experts_per_token,
          .groups = config.group_count,
          .groups_kept = config.topk_group,
          .scoring =
              config.scoring_func == scoring::sigmoid ? kernels::gate_scoring::sigmoid : kernels::gate_scoring::softmax,
          .method = method,
          .normalise = config.norm_topk_prob,
          .scaling = config.routed_scaling_factor};
}

} // namespace troupe::exec
