#include "runtime/exec/model_weights.hpp"

namespace troupe::exec {

std::string layer_prefix(layer_index layer) { return "model.layers." + std::to_string(layer) + "."; }

bool has_mtp(const weight_source& weights, const model::model_config& config) {
  return config.mtp_layer_count > 0 && weights.type_of(layer_prefix(config.layer_count) + "eh_proj.weight");
}

} // namespace troupe::exec
