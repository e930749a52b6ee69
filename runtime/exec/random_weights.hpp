// Weights without files, for `--load-format dummy`, `troupe bench engine --shape NAME` and tests: a pure function of
// (seed, tensor name).
#pragma once

#include "runtime/exec/model_weights.hpp"

#include <string_view>

namespace troupe::exec {

/// Values are scaled so that activations keep their size from layer to layer: outputs of a projection have variance 1.
class random_weights final : public weight_source {
 public:
  /// `type` f8_e4m3 leaves embedding, head, gate and eh_proj in bf16, as R1 does (model-spec.md section 9).
  random_weights(std::uint64_t seed, kernels::tensor_type type) : seed_(seed), type_(type) {}

  std::optional<kernels::tensor_type> type_of(const std::string& name) const override;
  result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override;
  /// For bf16 and f8_e4m3.
  std::optional<random_matrix> random(const std::string& name, std::int64_t rows, std::int64_t cols) const override;

 private:
  std::uint64_t seed_;
  kernels::tensor_type type_;
};

/// "tiny" (T0 of model-spec.md section 14), "small" (0.6 B parameters, 0.2 B active, R1's per-head dimensions),
/// "r1" and "r1-slice" (its dimensions, one dense and `moe_layers` MoE layers: 11.5 GB each in FP8).
/// Errors: not_found, naming the shapes there are.
result<model::model_config> named_shape(std::string_view name, int moe_layers = 1);

} // namespace troupe::exec
