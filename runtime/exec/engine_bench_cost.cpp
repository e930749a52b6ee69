#include "runtime/exec/engine_bench_cost.hpp"

#include <algorithm>
#include <vector>

namespace troupe::exec {
namespace {

using wide = std::int64_t;

wide kv_b_elements(const model::model_config& c) {
  return wide{c.head_count} * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
}

/// q_a, q_b or q_proj, kv_a, kv_b and o.
wide attention_elements(const model::model_config& c) {
  const wide q_rows = wide{c.head_count} * c.qk_head_dim();
  const wide q = c.q_lora_rank > 0 ? wide{c.q_lora_rank} * (c.hidden_size + q_rows) : c.hidden_size * q_rows;
  return q + wide{c.latent_dim()} * c.hidden_size + kv_b_elements(c) +
         wide{c.hidden_size} * c.head_count * c.v_head_dim;
}

/// Feed-forward elements with `routed` experts counted in each MoE layer.
wide ffn_elements(const model::model_config& c, layer_index layer, wide routed) {
  const wide hidden = c.hidden_size;
  if (!c.is_moe(layer)) return 3 * hidden * c.intermediate_size;
  return c.expert_count * hidden + 3 * hidden * c.moe_intermediate_size * (routed + c.shared_expert_count);
}

} // namespace

std::int64_t parameter_count(const model::model_config& c) {
  wide count = wide{c.vocab_size} * c.hidden_size * (c.tie_word_embeddings ? 1 : 2);
  for (layer_index layer = 0; layer < c.layer_count; ++layer)
    count += attention_elements(c) + ffn_elements(c, layer, c.expert_count);
  return count;
}

std::int64_t device_step_bytes(const model::model_config& c, kernels::tensor_type weights) {
  const auto size = static_cast<wide>(kernels::bytes_of(weights));
  wide bytes = wide{c.vocab_size} * c.hidden_size * 2;
  for (layer_index layer = 0; layer < c.layer_count; ++layer) {
    const wide gate = c.is_moe(layer) ? wide{c.expert_count} * c.hidden_size : 0;
    const wide projections = attention_elements(c) - kv_b_elements(c) + ffn_elements(c, layer, 0) - gate;
    bytes += projections * size + (kv_b_elements(c) + gate) * 2;
  }
  return bytes;
}

double step_flops(const model::model_config& c, std::int64_t rows, std::int64_t end, std::int64_t logit_rows) {
  wide elements = 0;
  for (layer_index layer = 0; layer < c.layer_count; ++layer)
    elements += attention_elements(c) + ffn_elements(c, layer, c.experts_per_token);
  const auto pairs = static_cast<double>(rows * (end - rows) + rows * (rows + 1) / 2); // of query and cached position
  const auto pair_flops = 2.0 * c.head_count * (c.latent_dim() + c.kv_lora_rank) * c.layer_count;
  return 2.0 * static_cast<double>(elements * rows + logit_rows * c.vocab_size * c.hidden_size) + pairs * pair_flops;
}

result<void> counting_client::start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) {
  auto experts = choice.experts;
  std::sort(experts.begin(), experts.end());
  distinct_experts += std::unique(experts.begin(), experts.end()) - experts.begin();
  return to_.start(layer, choice, inputs);
}

} // namespace troupe::exec
