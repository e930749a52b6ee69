// What a step must read and compute at least: the denominators of `troupe bench engine`.
#pragma once

#include "kernels/tensor_type.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>

namespace troupe::exec {

/// Weights of the model without the MTP module, one for each element of a matrix.
std::int64_t parameter_count(const model::model_config& config);

/// Floating point operations of `rows` rows of one sequence that end at position `end`, with `logit_rows` logits;
/// attention in the absorbed form (model-spec.md 6.3).
double step_flops(const model::model_config& config, std::int64_t rows, std::int64_t end, std::int64_t logit_rows);

/// Weights that every step of a GPU engine reads, routed experts aside: `weights` for the projections, bf16 for kv_b
/// (as absorbed attention reads it), gates and head. One row of the embedding counts nothing.
std::int64_t device_step_bytes(const model::model_config& config, kernels::tensor_type weights);

/// Passes everything on and counts the experts that a step reads.
class counting_client final : public expert_client {
 public:
  explicit counting_client(expert_client& to) : to_(to) {}

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override;
  result<void> finish(std::span<float> out) override { return to_.finish(out); }

  std::int64_t distinct_experts = 0; ///< summed over layers and calls

 private:
  expert_client& to_;
};

} // namespace troupe::exec
