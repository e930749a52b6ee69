// Reads tensors by name and packs them; layers side by side, since packing moves every byte once.
#include "runtime/exec/cpu_weights.hpp"

#include "runtime/exec/cpu_loading.hpp"

#include <cstring>
#include <thread>
#include <utility>

namespace troupe::exec {
namespace {

/// Loads the tensors of one model for one target; the first error wins.
class loader {
 public:
  loader(weight_source& from, const model::model_config& config, kernels::target t)
      : from_(from), config_(config), target_(t) {}

  result<kernels::matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) const {
    TROUPE_ASSIGN(const auto stored, from_.matrix(name, rows, cols));
    return kernels::matrix(stored.view, target_);
  }

  result<std::vector<float>> bias(const std::string& name, std::int64_t size) const {
    if (!config_.attention_bias) return std::vector<float>{};
    return from_.vector(name, size);
  }

  result<kernels::ffn_weights> ffn(const std::string& prefix, std::int64_t width) const {
    kernels::ffn_weights w;
    TROUPE_ASSIGN(w.gate, matrix(prefix + "gate_proj.weight", width, config_.hidden_size));
    TROUPE_ASSIGN(w.up, matrix(prefix + "up_proj.weight", width, config_.hidden_size));
    TROUPE_ASSIGN(w.down, matrix(prefix + "down_proj.weight", config_.hidden_size, width));
    return w;
  }

  result<attention_weights> attention(const std::string& prefix) const {
    const auto& c = config_;
    attention_weights w;
    const std::int64_t q_rows = std::int64_t{c.head_count} * c.qk_head_dim();
    if (c.q_lora_rank > 0) {
      TROUPE_ASSIGN(w.q_a, matrix(prefix + "q_a_proj.weight", c.q_lora_rank, c.hidden_size));
      TROUPE_ASSIGN(w.q_a_bias, bias(prefix + "q_a_proj.bias", c.q_lora_rank));
      TROUPE_ASSIGN(w.q_a_norm, from_.vector(prefix + "q_a_layernorm.weight", c.q_lora_rank));
      TROUPE_ASSIGN(w.q, matrix(prefix + "q_b_proj.weight", q_rows, c.q_lora_rank));
    } else {
      TROUPE_ASSIGN(w.q, matrix(prefix + "q_proj.weight", q_rows, c.hidden_size));
    }
    TROUPE_ASSIGN(w.kv_a, matrix(prefix + "kv_a_proj_with_mqa.weight", c.latent_dim(), c.hidden_size));
    TROUPE_ASSIGN(w.kv_a_bias, bias(prefix + "kv_a_proj_with_mqa.bias", c.latent_dim()));
    TROUPE_ASSIGN(w.kv_a_norm, from_.vector(prefix + "kv_a_layernorm.weight", c.kv_lora_rank));
    const std::int64_t kv_rows = std::int64_t{c.head_count} * (c.qk_nope_head_dim + c.v_head_dim);
    TROUPE_ASSIGN(const auto kv_b, from_.matrix(prefix + "kv_b_proj.weight", kv_rows, c.kv_lora_rank));
    w.kv_b.emplace(kv_b.view, mla_shape_of(c), target_);
    TROUPE_ASSIGN(w.o, matrix(prefix + "o_proj.weight", c.hidden_size, std::int64_t{c.head_count} * c.v_head_dim));
    TROUPE_ASSIGN(w.o_bias, bias(prefix + "o_proj.bias", c.hidden_size));
    return w;
  }

  result<kernels::router> gate(const std::string& prefix) const {
    TROUPE_ASSIGN(const auto stored, from_.matrix(prefix + "weight", config_.expert_count, config_.hidden_size));
    std::vector<float> correction;
    if (config_.topk == model::topk_method::noaux_tc) {
      TROUPE_ASSIGN(correction, from_.vector(prefix + "e_score_correction_bias", config_.expert_count));
    }
    return kernels::router(gate_config_of(config_), stored.view, correction, target_.set);
  }

  result<layer_weights> layer(layer_index index) const {
    const auto prefix = layer_prefix(index);
    layer_weights w;
    TROUPE_ASSIGN(w.input_norm, from_.vector(prefix + "input_layernorm.weight", config_.hidden_size));
    TROUPE_ASSIGN(w.attention, attention(prefix + "self_attn."));
    TROUPE_ASSIGN(w.post_attention_norm, from_.vector(prefix + "post_attention_layernorm.weight", config_.hidden_size));
    if (!config_.is_moe(index)) {
      TROUPE_ASSIGN(w.ffn, ffn(prefix + "mlp.", config_.intermediate_size));
      return w;
    }
    TROUPE_ASSIGN(w.gate, gate(prefix + "mlp.gate."));
    if (config_.shared_expert_count == 0) return w;
    const auto width = std::int64_t{config_.shared_expert_count} * config_.moe_intermediate_size;
    TROUPE_ASSIGN(w.ffn, ffn(prefix + "mlp.shared_experts.", width));
    return w;
  }

  /// Embedding and head copies of the module are skipped: they equal the model's own (model-spec.md 2.3).
  result<mtp_weights> mtp() const {
    const auto prefix = layer_prefix(config_.layer_count);
    const std::int64_t hidden = config_.hidden_size;
    mtp_weights w;
    TROUPE_ASSIGN(w.enorm, from_.vector(prefix + "enorm.weight", hidden));
    TROUPE_ASSIGN(w.hnorm, from_.vector(prefix + "hnorm.weight", hidden));
    TROUPE_ASSIGN(w.eh_proj, matrix(prefix + "eh_proj.weight", hidden, 2 * hidden));
    TROUPE_ASSIGN(w.layer, layer(config_.layer_count));
    TROUPE_ASSIGN(w.head_norm, from_.vector(prefix + "shared_head.norm.weight", hidden));
    return w;
  }

  result<embedding_table> embedding() const {
    TROUPE_ASSIGN(const auto stored,
                  from_.matrix("model.embed_tokens.weight", config_.vocab_size, config_.hidden_size));
    if (stored.view.type == kernels::tensor_type::f8_e4m3)
      return error{errc::unsupported, "model.embed_tokens.weight: FP8 embeddings"};
    const auto size = static_cast<std::size_t>(stored.view.rows * stored.view.cols) * bytes_of(stored.view.type);
    embedding_table table{kernels::buffer(size), stored.view};
    std::memcpy(table.memory.data(), stored.view.data, size);
    table.view.data = table.memory.data();
    return table;
  }

 private:
  weight_source& from_;
  const model::model_config& config_;
  kernels::target target_;
};

} // namespace

result<cpu_weights> load_cpu_weights(weight_source& from, const model::model_config& config, const cpu_device& device,
                                     const cpu_options& options) {
  const loader load(from, config, device.target);
  const bool mtp = has_mtp(from, config);
  enum part { embedding, head, module, first_layer };
  cpu_weights w;
  w.layers.resize(static_cast<std::size_t>(config.layer_count));
  TROUPE_ASSIGN(w.norm, from.vector("model.norm.weight", config.hidden_size));
  const auto head_name = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  const auto load_part = [&](std::int64_t index) -> result<void> {
    switch (index) {
    case embedding: return assign(w.embedding, load.embedding());
    case head: return assign(w.head, load.matrix(head_name, config.vocab_size, config.hidden_size));
    case module: return mtp ? assign(w.mtp, load.mtp()) : result<void>{};
    default:
      const auto layer = index - first_layer;
      return assign(w.layers[static_cast<std::size_t>(layer)], load.layer(static_cast<layer_index>(layer)));
    }
  };
  TROUPE_TRY(load_in_parallel(*device.pool, first_layer + config.layer_count, options.progress, load_part));
  return w;
}

result<kernels::ffn_weights> load_expert(weight_source& from, const model::model_config& config, layer_index layer,
                                         expert_index expert, kernels::target t) {
  return loader(from, config, t).ffn(model::expert_prefix(layer, expert), config.moe_intermediate_size);
}

} // namespace troupe::exec
