// config.json and generation_config.json of the deepseek_v3 family (model-spec.md section 1).
// Unknown keys are ignored; unknown *values* of a field that changes the mathematics are refused by name.
#pragma once

#include "kernels/tensor_type.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

enum class scoring { sigmoid, softmax };
enum class topk_method { noaux_tc, greedy, group_limited_greedy };

/// YaRN, model-spec.md section 5.
struct yarn_config {
  float factor = 1;
  int original_max_position_embeddings = 4096;
  float beta_fast = 32;
  float beta_slow = 1;
  float mscale = 0;
  float mscale_all_dim = 0;
  std::optional<float> attention_factor;
  bool truncate = true;
};

struct model_config {
  std::string model_type = "deepseek_v3";
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int moe_intermediate_size = 0;
  int layer_count = 0;     ///< num_hidden_layers: main layers, without the MTP module
  int mtp_layer_count = 0; ///< num_nextn_predict_layers
  int head_count = 0;
  int shared_expert_count = 0;
  int expert_count = 0; ///< n_routed_experts
  int experts_per_token = 0;
  int group_count = 1;
  int topk_group = 1;
  float routed_scaling_factor = 1;
  scoring scoring_func = scoring::sigmoid;
  topk_method topk = topk_method::noaux_tc;
  bool norm_topk_prob = true;
  int first_k_dense_replace = 0;
  int moe_layer_freq = 1;
  int q_lora_rank = 0; ///< 0 means a single q_proj
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;
  int qk_rope_head_dim = 0;
  int v_head_dim = 0;
  float rms_norm_eps = 1e-6f;
  bool attention_bias = false;
  float rope_theta = 10000;
  bool rope_interleave = true;
  std::optional<yarn_config> yarn;
  int max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  int weight_block_rows = 128; ///< quantization_config.weight_block_size
  int weight_block_cols = 128;
  token_id bos_token_id = 0;
  std::vector<token_id> eos_token_ids;

  bool is_moe(layer_index layer) const {
    return expert_count > 0 && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
  }
  int qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int latent_dim() const { return kv_lora_rank + qk_rope_head_dim; } ///< floats cached per token and layer
};

/// Defaults a request inherits when it does not say otherwise.
struct generation_config {
  std::optional<float> temperature, top_p, min_p;
  std::optional<int> top_k;
  bool do_sample = true;
  std::vector<token_id> eos_token_ids;
};

/// Parses the text of config.json. `file` is only for messages. Errors: bad_input or unsupported, naming the field.
result<model_config> parse_config(std::string_view json, std::string_view file);
/// Reads `dir/config.json`, and the end tokens from `dir/generation_config.json` when that exists.
result<model_config> load_config(const std::filesystem::path& dir);
/// How `dir/config.json` says that matrices are stored: f8_e4m3 with a quantization_config, else by its dtype, bf16 if
/// it names none. What a checkpoint holds may differ. Errors: as parse_config.
result<kernels::tensor_type> load_weight_type(const std::filesystem::path& dir);
/// Parses the text of generation_config.json.
result<generation_config> parse_generation_config(std::string_view json, std::string_view file);
/// Reads `dir/generation_config.json`; nothing set if there is none.
result<generation_config> load_generation_config(const std::filesystem::path& dir);

} // namespace troupe::model
