#include "runtime/exec/model_weights.hpp"

namespace troupe::exec {

bool has_mtp(const weight_source& weights, const model::model_config& config) {
  return config.mtp_layer_count > 0 && weights.type_of(layer_prefix(config.layer_count) + "eh_proj.weight");
}

} // namespace troupe::exec
