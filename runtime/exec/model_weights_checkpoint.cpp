// Engines from a checkpoint. Every tensor of the role is looked for before the first is packed: a wrong checkpoint is
// refused in a moment, and by the same line on every run.
#include "runtime/exec/cpu_engine.hpp"
#include "runtime/model/matrix_source.hpp"
#include "runtime/model/weight_plan.hpp"

namespace troupe::exec {

std::optional<kernels::tensor_type> checkpoint_weights::type_of(const std::string& name) const {
  return model::type_of(tensors_, name);
}

result<stored_matrix> checkpoint_weights::matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
  TROUPE_ASSIGN(const auto view, model::load_matrix(tensors_, config_, name, rows, cols));
  return stored_matrix{view, nullptr};
}

result<std::vector<float>> checkpoint_weights::vector(const std::string& name, std::int64_t size) {
  return model::load_vector(tensors_, name, size);
}

result<std::unique_ptr<engine>> make_cpu_engine(const model::checkpoint& weights, const model::model_config& config,
                                                const cpu_engine_options& options) {
  TROUPE_TRY(model::check_plan(model::plan_attention(config, model::has_mtp(weights, config)), weights, config));
  checkpoint_weights source(weights, config);
  return make_cpu_engine(source, config, options);
}

result<std::unique_ptr<expert_engine>> make_cpu_expert_engine(const model::checkpoint& weights,
                                                              const model::model_config& config,
                                                              std::span<const expert_index> experts,
                                                              const cpu_options& options) {
  TROUPE_TRY(model::check_plan(model::plan_experts(config, experts, model::has_mtp(weights, config)), weights, config));
  checkpoint_weights source(weights, config);
  return make_cpu_expert_engine(source, config, experts, options);
}

} // namespace troupe::exec
