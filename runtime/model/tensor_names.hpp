// Names of tensors (model-spec.md 2.3), and the two layouts of routed experts: a tensor for each, or a layer's in one.
#pragma once

#include "runtime/core/ids.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace troupe::model {

/// "model.layers.3."
std::string layer_prefix(layer_index layer);
/// "model.layers.3.mlp.experts.7."
std::string expert_prefix(layer_index layer, expert_index expert);

/// Where a routed expert's matrix lies in the fused layout.
struct fused_expert {
  std::string name; ///< "model.layers.3.mlp.experts.gate_up_proj"
  expert_index expert = 0;
  int part = 0;  ///< 1 for up_proj, whose rows follow gate_proj's
  int parts = 1; ///< matrices stacked for one expert: gate_up_proj holds 2
};

/// The place of "<layer>.mlp.experts.<e>.<gate|up|down>_proj.weight"; nothing for any other name.
std::optional<fused_expert> fused_expert_of(std::string_view name);

} // namespace troupe::model
