#include "runtime/model/tensor_names.hpp"

#include <charconv>

namespace troupe::model {

std::string layer_prefix(layer_index layer) { return "model.layers." + std::to_string(layer) + "."; }

std::string expert_prefix(layer_index layer, expert_index expert) {
  return layer_prefix(layer) + "mlp.experts." + std::to_string(expert) + ".";
}

std::optional<fused_expert> fused_expert_of(std::string_view name) {
  constexpr std::string_view middle = ".mlp.experts.";
  const auto at = name.find(middle);
  if (at == name.npos) return {};
  const auto* end = name.data() + name.size();
  fused_expert found;
  const auto number = std::from_chars(name.data() + at + middle.size(), end, found.expert);
  if (number.ec != std::errc{} || found.expert < 0) return {};
  const std::string_view matrix(number.ptr, static_cast<std::size_t>(end - number.ptr));
  const std::string prefix(name.substr(0, at + middle.size()));
  if (matrix == ".down_proj.weight") {
    found.name = prefix + "down_proj";
  } else if (matrix == ".gate_proj.weight" || matrix == ".up_proj.weight") {
    found.name = prefix + "gate_up_proj";
    found.part = matrix == ".up_proj.weight";
    found.parts = 2;
  } else {
    return {};
  }
  return found;
}

} // namespace troupe::model
