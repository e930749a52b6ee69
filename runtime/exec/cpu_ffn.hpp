// The feed-forward block of one layer: a dense MLP, or the gate, the shared experts and, through a client, the routed.
#pragma once

#include "runtime/exec/cpu_weights.hpp"

#include <vector>

namespace troupe::exec {

/// Keeps scratch memory between layers and steps; one caller at a time.
class cpu_ffn {
 public:
  cpu_ffn(const model::model_config& config, const cpu_device& device)
      : config_(config), device_(device), kernel_(device.target) {}

  /// out = FFN(normed), both [rows, hidden], but for the routed experts, which begin to work elsewhere; `choice` is
  /// what the gate says. All three must live until finish(). Errors: those of `experts`.
  result<void> start(const layer_weights& w, layer_index layer, std::int64_t rows, std::span<const float> normed,
                     std::span<float> out, moe::routing& choice, expert_client& experts);
  /// Adds their outputs to `out`. Errors: those of `experts`.
  static result<void> finish(const layer_weights& w, std::span<float> out, expert_client& experts);

 private:
  void run_own(const layer_weights& w, std::int64_t rows, const float* normed, float* out);

  const model::model_config& config_;
  cpu_device device_;
  kernels::expert_ffn kernel_;
  std::vector<std::int32_t> all_rows_;
};

} // namespace troupe::exec
