// Engines from a checkpoint: tensors by name, in either layout of the experts (model-spec.md 2.3).
#include "runtime/exec/cpu_engine.hpp"

#include <cstring>

namespace troupe::exec {

result<std::unique_ptr<engine>> make_cpu_engine(const model::checkpoint& weights, const model::model_config& config,
                                                const cpu_engine_options& options) {
  checkpoint_weights source(weights, config);
  return make_cpu_engine(source, config, options);
}

result<std::unique_ptr<expert_engine>> make_cpu_expert_engine(const model::checkpoint& weights,
                                                              const model::model_config& config,
                                                              std::span<const expert_index> experts,
                                                              const cpu_options& options) {
  checkpoint_weights source(weights, config);
  return make_cpu_expert_engine(source, config, experts, options);
}

} // namespace troupe::exec
