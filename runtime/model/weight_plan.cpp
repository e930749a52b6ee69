#include "runtime/model/weight_plan.hpp"

#include "runtime/model/matrix_source.hpp"
#include "runtime/model/tensor_names.hpp"

namespace troupe::model {
namespace {

class planner {
 public:
  explicit planner(const model_config& config) : c_(config) {}

  void ends();
  void layer(layer_index index);
  void mtp();
  void ffn(const std::string& prefix, std::int64_t width);

  weight_plan plan;

 private:
  void attention(const std::string& prefix);
  void feed_forward(layer_index index, const std::string& prefix);
  void vector(std::string name, std::int64_t size) { plan.push_back({std::move(name), {size}}); }
  void matrix(std::string name, std::int64_t rows, std::int64_t cols) {
    plan.push_back({std::move(name), {rows, cols}});
  }
  void bias(std::string name, std::int64_t size) {
    if (c_.attention_bias) vector(std::move(name), size);
  }

  const model_config& c_;
};

void planner::ends() {
  matrix("model.embed_tokens.weight", c_.vocab_size, c_.hidden_size);
  vector("model.norm.weight", c_.hidden_size);
  if (!c_.tie_word_embeddings) matrix("lm_head.weight", c_.vocab_size, c_.hidden_size);
}

void planner::layer(layer_index index) {
  const auto prefix = layer_prefix(index);
  vector(prefix + "input_layernorm.weight", c_.hidden_size);
  attention(prefix + "self_attn.");
  vector(prefix + "post_attention_layernorm.weight", c_.hidden_size);
  feed_forward(index, prefix + "mlp.");
}

void planner::attention(const std::string& prefix) {
  const auto heads = std::int64_t{c_.head_count};
  if (c_.q_lora_rank > 0) {
    matrix(prefix + "q_a_proj.weight", c_.q_lora_rank, c_.hidden_size);
    bias(prefix + "q_a_proj.bias", c_.q_lora_rank);
    vector(prefix + "q_a_layernorm.weight", c_.q_lora_rank);
    matrix(prefix + "q_b_proj.weight", heads * c_.qk_head_dim(), c_.q_lora_rank);
  } else {
    matrix(prefix + "q_proj.weight", heads * c_.qk_head_dim(), c_.hidden_size);
  }
  matrix(prefix + "kv_a_proj_with_mqa.weight", c_.latent_dim(), c_.hidden_size);
  bias(prefix + "kv_a_proj_with_mqa.bias", c_.latent_dim());
  vector(prefix + "kv_a_layernorm.weight", c_.kv_lora_rank);
  matrix(prefix + "kv_b_proj.weight", heads * (c_.qk_nope_head_dim + c_.v_head_dim), c_.kv_lora_rank);
  matrix(prefix + "o_proj.weight", c_.hidden_size, heads * c_.v_head_dim);
  bias(prefix + "o_proj.bias", c_.hidden_size);
}

void planner::feed_forward(layer_index index, const std::string& prefix) {
  if (!c_.is_moe(index)) return ffn(prefix, c_.intermediate_size);
  matrix(prefix + "gate.weight", c_.expert_count, c_.hidden_size);
  if (c_.topk == topk_method::noaux_tc) vector(prefix + "gate.e_score_correction_bias", c_.expert_count);
  if (c_.shared_expert_count > 0)
    ffn(prefix + "shared_experts.", std::int64_t{c_.shared_expert_count} * c_.moe_intermediate_size);
}

void planner::mtp() {
  const auto prefix = layer_prefix(c_.layer_count);
  vector(prefix + "enorm.weight", c_.hidden_size);
  vector(prefix + "hnorm.weight", c_.hidden_size);
  matrix(prefix + "eh_proj.weight", c_.hidden_size, 2 * std::int64_t{c_.hidden_size});
  layer(c_.layer_count);
  vector(prefix + "shared_head.norm.weight", c_.hidden_size);
}

void planner::ffn(const std::string& prefix, std::int64_t width) {
  matrix(prefix + "gate_proj.weight", width, c_.hidden_size);
  matrix(prefix + "up_proj.weight", width, c_.hidden_size);
  matrix(prefix + "down_proj.weight", c_.hidden_size, width);
}

/// Where the plan's tensors lie, scales included.
result<std::vector<std::span<const std::byte>>> parts_of(const weight_plan& plan, const checkpoint& from,
                                                         const model_config& config) {
  std::vector<std::span<const std::byte>> parts;
  const auto add = [&](const std::byte* data, std::int64_t bytes) {
    parts.emplace_back(data, static_cast<std::size_t>(bytes));
  };
  for (const auto& [name, shape] : plan) {
    if (shape.size() == 1) {
      TROUPE_ASSIGN(const auto values, load_vector(from, name, shape[0]));
      parts.push_back(from.find(name)->bytes);
      continue;
    }
    TROUPE_ASSIGN(const auto w, load_matrix(from, config, name, shape[0], shape[1]));
    add(w.data, w.rows * w.cols * static_cast<std::int64_t>(bytes_of(w.type)));
    if (w.scales) add(w.scales, 4 * kernels::ceil_div(w.rows, w.block_rows) * kernels::ceil_div(w.cols, w.block_cols));
  }
  return parts;
}

} // namespace

weight_plan plan_attention(const model_config& config, bool with_mtp) {
  planner p(config);
  p.ends();
  for (layer_index layer = 0; layer < config.layer_count; ++layer) p.layer(layer);
  if (with_mtp) p.mtp();
  return std::move(p.plan);
}

weight_plan plan_experts(const model_config& config, std::span<const expert_index> experts, bool with_mtp) {
  planner p(config);
  for (layer_index layer = 0; layer < config.layer_count + (with_mtp ? 1 : 0); ++layer)
    if (config.is_moe(layer))
      for (const auto expert : experts) p.ffn(expert_prefix(layer, expert), config.moe_intermediate_size);
  return std::move(p.plan);
}

result<std::int64_t> check_plan(const weight_plan& plan, const checkpoint& from, const model_config& config) {
  TROUPE_ASSIGN(const auto parts, parts_of(plan, from, config));
  std::int64_t bytes = 0;
  for (const auto& part : parts) bytes += static_cast<std::int64_t>(part.size());
  return bytes;
}

result<void> keep_plan(const weight_plan& plan, checkpoint& from, const model_config& config) {
  TROUPE_ASSIGN(auto parts, parts_of(plan, from, config));
  from.keep(std::move(parts));
  return {};
}

} // namespace troupe::model
