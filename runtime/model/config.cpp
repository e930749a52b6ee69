// Bounds are far above any released model and far below overflow: three widths multiply within 63 bits.
#include "runtime/model/config.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/config_reader.hpp"
#include "runtime/model/json_document.hpp"
#include "runtime/model/text_file.hpp"

namespace troupe::model {
namespace {

constexpr int width_max = 1 << 20;
constexpr int head_dim_max = 1 << 12;
constexpr int count_max = 1 << 12;
constexpr int shared_experts_max = 64;
constexpr int position_max = 1 << 26;
constexpr double scale_max = 1e6;

/// What a config leaves unsaid: transformers' classes have only one router each and do not write its kind down.
result<void> read_family(config_reader& in, model_config& c) {
  const auto type = in["model_type"].string();
  if (!type) return type.error();
  c.model_type = *type;
  if (c.model_type == "deepseek_v2") {
    c.scoring_func = scoring::softmax;
    c.topk = topk_method::greedy;
  } else if (c.model_type != "deepseek_v3") {
    return in["model_type"].fail("\"" + c.model_type + "\" is not supported", errc::unsupported);
  }
  in.expect("hidden_act", "silu");
  return {};
}

void read_sizes(config_reader& in, model_config& c) {
  in.need("vocab_size", c.vocab_size, 1, limits::token_ids_max);
  in.need("hidden_size", c.hidden_size, 1, width_max);
  in.need("intermediate_size", c.intermediate_size, 1, width_max);
  in.need("num_hidden_layers", c.layer_count, 1, count_max);
  in.read("num_nextn_predict_layers", c.mtp_layer_count, 0, 1);
  in.need("max_position_embeddings", c.max_position_embeddings, 1, position_max);
  in.read("rms_norm_eps", c.rms_norm_eps, 1e-12, 1);
  in.read("tie_word_embeddings", c.tie_word_embeddings);
}

void read_attention(config_reader& in, model_config& c) {
  in.need("num_attention_heads", c.head_count, 1, count_max);
  in.read("q_lora_rank", c.q_lora_rank, 0, width_max);
  in.need("kv_lora_rank", c.kv_lora_rank, 1, width_max);
  in.need("qk_nope_head_dim", c.qk_nope_head_dim, 1, head_dim_max);
  in.need("qk_rope_head_dim", c.qk_rope_head_dim, 2, head_dim_max);
  in.need("v_head_dim", c.v_head_dim, 1, head_dim_max);
  in.read("attention_bias", c.attention_bias);
  in.read("rope_interleave", c.rope_interleave);
  in.check(c.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "is odd, but rotary embedding turns pairs");
  int kv_heads = c.head_count;
  in.read("num_key_value_heads", kv_heads, 1, count_max);
  in.check(kv_heads == c.head_count, "num_key_value_heads",
           "differs from num_attention_heads; latent attention has one for each");
}

void read_experts(config_reader& in, model_config& c) {
  in.read("n_routed_experts", c.expert_count, 0, count_max);
  if (c.expert_count == 0) return;
  in.read("n_shared_experts", c.shared_expert_count, 0, shared_experts_max);
  in.need("moe_intermediate_size", c.moe_intermediate_size, 1, width_max);
  in.need("num_experts_per_tok", c.experts_per_token, 1, c.expert_count);
  in.need("first_k_dense_replace", c.first_k_dense_replace, 0, count_max);
  in.read("moe_layer_freq", c.moe_layer_freq, 1, count_max);
  in.need("routed_scaling_factor", c.routed_scaling_factor, 0, scale_max);
  in.need("norm_topk_prob", c.norm_topk_prob);
  in.choose<scoring>("scoring_func", c.scoring_func, {{"sigmoid", scoring::sigmoid}, {"softmax", scoring::softmax}});
  in.choose<topk_method>("topk_method", c.topk,
                         {{"noaux_tc", topk_method::noaux_tc},
                          {"greedy", topk_method::greedy},
                          {"group_limited_greedy", topk_method::group_limited_greedy}});
  in.read("n_group", c.group_count, 1, c.expert_count);
  in.read("topk_group", c.topk_group, 1, c.group_count);
  in.check(c.expert_count % c.group_count == 0, "n_group", "does not divide n_routed_experts");
  const int group_size = c.expert_count / c.group_count;
  in.check(c.topk != topk_method::noaux_tc || group_size >= 2, "n_group",
           "leaves one expert a group; noaux_tc sums two");
  in.check(c.experts_per_token <= c.topk_group * group_size, "num_experts_per_tok",
           "is more than topk_group groups hold");
}

/// The three spellings of model-spec.md section 1: rope_scaling with `type` or `rope_type`, and rope_parameters.
result<void> read_rope(config_reader& in, model_config& c) {
  in.read("rope_theta", c.rope_theta, 1.0001, 1e12);
  const auto field = in["rope_parameters"].is_null() ? in["rope_scaling"] : in["rope_parameters"];
  if (field.is_null()) return {};
  TROUPE_TRY(field.object());
  config_reader rope(field);
  rope.read("rope_theta", c.rope_theta, 1.0001, 1e12);
  bool yarn = false;
  const auto* spelling = field["rope_type"].is_null() ? "type" : "rope_type";
  rope.check(!field[spelling].is_null(), spelling, "is missing");
  rope.choose<bool>(spelling, yarn, {{"default", false}, {"yarn", true}});
  if (!yarn) return rope.outcome();
  auto& y = c.yarn.emplace();
  rope.need("factor", y.factor, 1, scale_max);
  rope.need("original_max_position_embeddings", y.original_max_position_embeddings, 1, position_max);
  rope.read("beta_fast", y.beta_fast, 1e-3, scale_max);
  rope.read("beta_slow", y.beta_slow, 1e-3, scale_max);
  rope.read("mscale", y.mscale, 0, scale_max);
  rope.read("mscale_all_dim", y.mscale_all_dim, 0, scale_max);
  rope.read("attention_factor", y.attention_factor, 1e-6, scale_max);
  rope.read("truncate", y.truncate);
  rope.check(y.beta_slow <= y.beta_fast, "beta_slow", "is larger than beta_fast");
  return rope.outcome();
}

/// Whether a tensor is quantised is its own dtype's affair; this says only how.
result<void> read_quantization(const json_field& field, model_config& c) {
  if (field.is_null()) return {};
  TROUPE_TRY(field.object());
  config_reader in(field);
  in.check(!field["quant_method"].is_null(), "quant_method", "is missing");
  in.expect("quant_method", "fp8");
  in.expect("fmt", "e4m3");
  in.expect("activation_scheme", "dynamic");
  TROUPE_TRY(in.outcome());
  const auto block = field["weight_block_size"];
  TROUPE_ASSIGN(const auto list, block.array());
  if (list->size() != 2) return block.fail("must be [rows, columns]");
  TROUPE_ASSIGN(const auto rows, block.at(0).integer(1, head_dim_max));
  TROUPE_ASSIGN(const auto cols, block.at(1).integer(1, head_dim_max));
  c.weight_block_rows = static_cast<int>(rows);
  c.weight_block_cols = static_cast<int>(cols);
  return {};
}

} // namespace

result<model_config> parse_config(std::string_view json, std::string_view file) {
  TROUPE_ASSIGN(const auto document, parse_json_document(json, file));
  const json_field root(document, file);
  TROUPE_TRY(root.object());
  config_reader in(root);
  model_config c;
  TROUPE_TRY(read_family(in, c));
  read_sizes(in, c);
  read_attention(in, c);
  read_experts(in, c);
  TROUPE_TRY(in.outcome());
  TROUPE_TRY(read_rope(in, c));
  TROUPE_TRY(read_quantization(root["quantization_config"], c));
  in.read("bos_token_id", c.bos_token_id, 0, c.vocab_size - 1);
  in.read_ids("eos_token_id", c.eos_token_ids, c.vocab_size - 1);
  TROUPE_TRY(in.outcome());
  return c;
}

result<model_config> load_config(const std::filesystem::path& dir) {
  const auto path = dir / "config.json";
  TROUPE_ASSIGN(const auto text, read_text_file(path));
  TROUPE_ASSIGN(auto config, parse_config(text, path.string()));
  TROUPE_ASSIGN(const auto generation, load_generation_config(dir));
  if (!generation.eos_token_ids.empty()) config.eos_token_ids = generation.eos_token_ids;
  return config;
}

result<kernels::tensor_type> load_weight_type(const std::filesystem::path& dir) {
  const auto path = (dir / "config.json").string();
  TROUPE_ASSIGN(const auto text, read_text_file(path));
  TROUPE_ASSIGN(const auto document, parse_json_document(text, path));
  const json_field root(document, path);
  if (!root["quantization_config"].is_null()) return kernels::tensor_type::f8_e4m3;
  const auto dtype = root["dtype"].is_null() ? root["torch_dtype"] : root["dtype"];
  if (dtype.is_null()) return kernels::tensor_type::bf16;
  TROUPE_ASSIGN(const auto name, dtype.string());
  return name == "float32" ? kernels::tensor_type::f32 : kernels::tensor_type::bf16;
}

} // namespace troupe::model
