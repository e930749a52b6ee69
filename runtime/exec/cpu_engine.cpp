// The factories: from any source of weights to the engines of this machine.
#include "runtime/exec/cpu_engine.hpp"

#include "runtime/exec/cpu_experts.hpp"
#include "runtime/exec/cpu_model.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

/// Errors: overloaded if not even one page fits.
result<std::int32_t> choose_page_count(const cpu_engine_options& options, std::int64_t page_bytes) {
  if (options.page_count > 0) return options.page_count;
  const auto share = static_cast<double>(available_memory_bytes()) * options.kv_cache_ratio;
  const auto fitting = std::min<double>(share / static_cast<double>(page_bytes), options.page_count_max);
  if (fitting < 1) return error{errc::overloaded, "no memory for one page of latent cache"};
  return static_cast<std::int32_t>(fitting);
}

} // namespace

result<std::unique_ptr<engine>> make_cpu_engine(weight_source& weights, const model::model_config& config,
                                                const cpu_engine_options& options) {
  TROUPE_TRY(weights.check(model::plan_attention(config, has_mtp(weights, config))));
  TROUPE_ASSIGN(const auto device, open_cpu(weights, options.cpu));
  TROUPE_ASSIGN(const auto format, choose_cache(options.cache, config, device));
  TROUPE_ASSIGN(auto loaded, load_cpu_weights(weights, config, device, options.cpu));
  const auto layers = config.layer_count + (loaded.mtp ? 1 : 0);
  const auto page_bytes = cpu_cache::page_bytes(layers, mla_shape_of(config), {device.target.compute, format});
  TROUPE_ASSIGN(const auto page_count, choose_page_count(options, page_bytes));
  return std::unique_ptr<engine>(new cpu_model(config, device, std::move(loaded), page_count, format));
}

result<std::unique_ptr<expert_engine>> make_cpu_expert_engine(weight_source& weights, const model::model_config& config,
                                                              std::span<const expert_index> experts,
                                                              const cpu_options& options) {
  TROUPE_TRY(weights.check(model::plan_experts(config, experts, has_mtp(weights, config))));
  TROUPE_ASSIGN(auto loaded, cpu_experts::load(weights, config, experts, options));
  return std::unique_ptr<expert_engine>(std::move(loaded));
}

} // namespace troupe::exec
