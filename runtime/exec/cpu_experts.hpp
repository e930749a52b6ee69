// expert_engine on the CPU: the experts of one shard for every MoE layer, the MTP module's included.
#pragma once

#include "runtime/exec/cpu_weights.hpp"

#include <vector>

namespace troupe::exec {

class cpu_experts final : public expert_engine {
 public:
  /// Errors: those of the weights.
  static result<std::unique_ptr<cpu_experts>> load(weight_source& from, const model::model_config& config,
                                                   std::span<const expert_index> owned, const cpu_options& options);

  result<moe::shard_output> run(const moe::shard_batch& batch) override;

  /// Bytes that one expert's weights take, equal for all.
  std::int64_t expert_bytes() const;

 private:
  cpu_experts(const model::model_config& config, const cpu_device& device);

  const kernels::ffn_weights& weights_of(layer_index layer, expert_index expert) const;

  model::model_config config_;
  cpu_device device_;
  kernels::expert_ffn kernel_;
  std::vector<std::int32_t> layer_slot_;      // [layers + 1] position among the MoE layers, -1: dense
  std::vector<std::int32_t> expert_slot_;     // [expert_count] position among the owned, -1: not ours
  std::vector<kernels::ffn_weights> weights_; // [MoE layers][owned]
  std::int64_t owned_count_ = 0;
  std::vector<kernels::ffn_job> jobs_;
};

} // namespace troupe::exec
