// Reads tensors by name and sends them to the device, layer after layer, as the kernels want them.
#include "runtime/exec/cuda/cuda_weights.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cuda/random_fill.hpp"
#include "runtime/exec/device/weight_shapes.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::exec {
namespace {

using kernels::ceil_div;
using kernels::tensor_type;
using kernels::weight_view;

std::size_t scales_bytes(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(ceil_div(rows, 128) * ceil_div(cols, 128)) * sizeof(float);
}

class loader {
 public:
  loader(weight_source& from, const model::model_config& config, uploader& to, bool batch_invariant = true)
      : from_(from), config_(config), to_(to), batch_invariant_(batch_invariant) {}

  result<device_memory> vector(const std::string& name, std::int64_t size) {
    TROUPE_ASSIGN(const auto values, checked(from_.vector(name, size)));
    return upload(values.data(), values.size() * sizeof(float));
  }

  /// FP8 stays FP8 if `may_be_fp8` and a row is whole scale blocks.
  result<device_matrix> matrix(const std::string& name, int rows, int cols, bool may_be_fp8 = true) {
    const stacked_part part{name, rows};
    return stack({&part, 1}, cols, may_be_fp8);
  }

  /// One FFN of `prefixes.size()` experts.
  result<device_ffn> ffn(const std::vector<std::string>& prefixes, int width) {
    device_ffn f;
    f.experts = static_cast<int>(prefixes.size()), f.hidden = config_.hidden_size, f.width = width;
    f.batch_invariant = batch_invariant_;
    if (prefixes.empty()) return f;
    const bool fp8 = from_.type_of(prefixes.front() + "gate_proj.weight") == tensor_type::f8_e4m3 &&
                     fits_fp8_ffn(f.hidden, width, f.experts, config_.weight_block_rows, config_.weight_block_cols);
    const auto size = static_cast<std::size_t>(width) * f.hidden * (fp8 ? 1 : 2); // bytes of one matrix
    const auto scales = fp8 ? scales_bytes(width, f.hidden) : 0;
    TROUPE_ASSIGN(f.gate_up, allocate(2 * size * prefixes.size()));
    TROUPE_ASSIGN(f.down, allocate(size * prefixes.size()));
    if (fp8) {
      TROUPE_ASSIGN(f.gate_up_scales, allocate(2 * scales * prefixes.size()));
      TROUPE_ASSIGN(f.down_scales, allocate(scales * prefixes.size()));
    }
    for (std::size_t e = 0; e < prefixes.size(); ++e) {
      const place gate{&f.gate_up, &f.gate_up_scales, 2 * e * size, 2 * e * scales};
      const place up{&f.gate_up, &f.gate_up_scales, (2 * e + 1) * size, (2 * e + 1) * scales};
      const place down{&f.down, &f.down_scales, e * size, e * scales};
      TROUPE_TRY(put(prefixes[e] + "gate_proj.weight", width, f.hidden, gate));
      TROUPE_TRY(put(prefixes[e] + "up_proj.weight", width, f.hidden, up));
      TROUPE_TRY(put(prefixes[e] + "down_proj.weight", f.hidden, width, down));
    }
    return f;
  }

  result<cuda_attention_weights> attention(const std::string& prefix) {
    const auto& c = config_;
    cuda_attention_weights w;
    const int q_rows = c.head_count * c.qk_head_dim();
    std::vector<stacked_part> in;
    if (c.q_lora_rank > 0) in.push_back({prefix + "q_a_proj", c.q_lora_rank});
    in.push_back({prefix + "kv_a_proj_with_mqa", c.latent_dim()});
    if (c.attention_bias) {
      TROUPE_ASSIGN(w.in_bias, biases(in));
    }
    for (auto& part : in) part.name += ".weight";
    TROUPE_ASSIGN(w.in, stack(in, c.hidden_size, true));
    if (c.q_lora_rank > 0) {
      TROUPE_ASSIGN(w.q_a_norm, vector(prefix + "q_a_layernorm.weight", c.q_lora_rank));
      TROUPE_ASSIGN(w.q, matrix(prefix + "q_b_proj.weight", q_rows, c.q_lora_rank));
    } else {
      TROUPE_ASSIGN(w.q, matrix(prefix + "q_proj.weight", q_rows, c.hidden_size));
    }
    TROUPE_ASSIGN(w.kv_a_norm, vector(prefix + "kv_a_layernorm.weight", c.kv_lora_rank));
    TROUPE_TRY(kv_b(prefix + "kv_b_proj.weight", w));
    if (!batch_invariant_ && cuda::current_path() == cuda::kernel_path::hopper) {
      const int kv_rows = c.head_count * (c.qk_nope_head_dim + c.v_head_dim);
      TROUPE_ASSIGN(w.kv_b, matrix(prefix + "kv_b_proj.weight", kv_rows, c.kv_lora_rank));
    }
    TROUPE_ASSIGN(w.o, matrix(prefix + "o_proj.weight", c.hidden_size, c.head_count * c.v_head_dim));
    if (c.attention_bias) {
      TROUPE_ASSIGN(w.o_bias, vector(prefix + "o_proj.bias", c.hidden_size));
    }
    return w;
  }

  result<cuda_layer_weights> layer(layer_index index) {
    const auto prefix = layer_prefix(index);
    cuda_layer_weights w;
    TROUPE_ASSIGN(w.input_norm, vector(prefix + "input_layernorm.weight", config_.hidden_size));
    TROUPE_ASSIGN(w.attention, attention(prefix + "self_attn."));
    TROUPE_ASSIGN(w.post_attention_norm, vector(prefix + "post_attention_layernorm.weight", config_.hidden_size));
    if (!config_.is_moe(index)) {
      TROUPE_ASSIGN(w.ffn, ffn({prefix + "mlp."}, config_.intermediate_size));
      return w;
    }
    TROUPE_ASSIGN(w.gate, matrix(prefix + "mlp.gate.weight", config_.expert_count, config_.hidden_size, false));
    if (config_.topk == model::topk_method::noaux_tc) {
      TROUPE_ASSIGN(w.correction, vector(prefix + "mlp.gate.e_score_correction_bias", config_.expert_count));
    }
    if (config_.shared_expert_count == 0) return w;
    const int width = config_.shared_expert_count * config_.moe_intermediate_size;
    TROUPE_ASSIGN(w.ffn, ffn({prefix + "mlp.shared_experts."}, width));
    return w;
  }

  /// Embedding and head copies of the module are skipped: they equal the model's own (model-spec.md 2.3).
  result<cuda_mtp_weights> mtp() {
    const auto prefix = layer_prefix(config_.layer_count);
    const int hidden = config_.hidden_size;
    cuda_mtp_weights w;
    TROUPE_ASSIGN(w.enorm, vector(prefix + "enorm.weight", hidden));
    TROUPE_ASSIGN(w.hnorm, vector(prefix + "hnorm.weight", hidden));
    TROUPE_ASSIGN(w.eh_proj, matrix(prefix + "eh_proj.weight", hidden, 2 * hidden));
    TROUPE_ASSIGN(w.layer, layer(config_.layer_count));
    TROUPE_ASSIGN(w.head_norm, vector(prefix + "shared_head.norm.weight", hidden));
    return w;
  }

 private:
  struct place {
    device_memory *data, *scales; ///< scales of size 0: bf16
    std::size_t data_at, scales_at;
  };

  /// An error ends the uploading first: whoever gets it frees what was being written to.
  template <class T>
  result<T> checked(result<T> outcome) {
    if (!outcome) to_.drop();
    return outcome;
  }
  result<device_memory> allocate(std::size_t bytes) { return checked(device_memory::allocate(bytes)); }

  struct stacked_part {
    std::string name;
    int rows;
  };

  /// Matrices of one width, one below the other. FP8 if all are and scale blocks do not straddle two of them.
  result<device_matrix> stack(std::span<const stacked_part> parts, int cols, bool may_be_fp8) {
    device_matrix m;
    m.batch_invariant = batch_invariant_;
    m.cols = cols;
    bool fp8 = may_be_fp8 && cols % 128 == 0 && config_.weight_block_rows == 128 && config_.weight_block_cols == 128;
    for (const auto& part : parts) {
      fp8 = fp8 && m.rows % 128 == 0 && from_.type_of(part.name) == tensor_type::f8_e4m3;
      m.rows += part.rows;
    }
    const std::size_t row_bytes = static_cast<std::size_t>(cols) * (fp8 ? 1 : 2);
    TROUPE_ASSIGN(m.data, allocate(static_cast<std::size_t>(m.rows) * row_bytes));
    if (fp8) {
      TROUPE_ASSIGN(m.scales, allocate(scales_bytes(m.rows, cols)));
    }
    std::size_t row = 0;
    for (const auto& part : parts) {
      const place where{&m.data, &m.scales, row * row_bytes, scales_bytes(static_cast<std::int64_t>(row), cols)};
      TROUPE_TRY(put(part.name, part.rows, cols, where));
      row += static_cast<std::size_t>(part.rows);
    }
    return m;
  }

  /// The same for their bias vectors; `parts` without suffix.
  result<device_memory> biases(std::span<const stacked_part> parts) {
    std::vector<float> all;
    for (const auto& part : parts) {
      TROUPE_ASSIGN(const auto values, checked(from_.vector(part.name + ".bias", part.rows)));
      all.insert(all.end(), values.begin(), values.end());
    }
    return upload(all.data(), all.size() * sizeof(float));
  }

  result<device_memory> upload(const void* from, std::size_t bytes) {
    TROUPE_ASSIGN(auto memory, allocate(bytes));
    to_.copy_now(memory.as<std::byte>(), from, bytes);
    return memory;
  }

  result<void> put(const std::string& name, int rows, int cols, const place& where) {
    const bool fp8 = where.scales->size() > 0;
    auto* data = where.data->as<std::byte>() + where.data_at;
    auto* scales = where.scales->as<std::byte>() + where.scales_at;
    if (const auto recipe = from_.random(name, rows, cols);
        recipe && recipe->type == (fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16))
      return make(*recipe, std::int64_t{rows} * cols, data, scales), result<void>{};
    TROUPE_ASSIGN(const auto stored, checked(from_.matrix(name, rows, cols)));
    if (!fp8) return send_bf16(stored, data), result<void>{};
    if (stored.view.type != tensor_type::f8_e4m3)
      return checked(result<void>(error{errc::bad_input, name + ": not FP8 as the layer's other matrices are"}));
    send_fp8(stored, data, scales);
    return {};
  }

  void make(const random_matrix& recipe, std::int64_t count, std::byte* data, std::byte* scales) {
    if (recipe.type == tensor_type::bf16)
      return must(
          cuda::fill_random_bf16(reinterpret_cast<std::uint16_t*>(data), count, recipe.state, recipe.step, nullptr));
    must(cuda::fill_random_e4m3(reinterpret_cast<std::uint8_t*>(data), count, recipe.state, nullptr));
    to_.copy_now(scales, recipe.scales.data(), recipe.scales.size() * sizeof(float));
  }

  void send_fp8(const stored_matrix& from, std::byte* data, std::byte* scales) {
    const auto& w = from.view;
    to_.copy(data, w.data, static_cast<std::size_t>(w.rows * w.cols), from.memory);
    if (w.scales) return to_.copy(scales, w.scales, scales_bytes(w.rows, w.cols), from.memory);
    const std::vector<float> ones(scales_bytes(w.rows, w.cols) / sizeof(float), 1.0f);
    to_.copy_now(scales, ones.data(), ones.size() * sizeof(float));
  }

  void send_bf16(const stored_matrix& from, std::byte* data) {
    const auto& w = from.view;
    if (w.type == tensor_type::bf16)
      return to_.copy(data, w.data, static_cast<std::size_t>(w.rows * w.cols) * 2, from.memory);
    const auto row_bytes = static_cast<std::size_t>(w.cols) * 2;
    const auto rows_max = static_cast<std::int64_t>(uploader::piece_bytes / row_bytes);
    for (std::int64_t first = 0; first < w.rows; first += rows_max) {
      const auto count = std::min(rows_max, w.rows - first);
      to_.send(data + static_cast<std::size_t>(first) * row_bytes, static_cast<std::size_t>(count) * row_bytes,
               [from, first, count](std::byte* room) {
                 std::vector<float> row(static_cast<std::size_t>(from.view.cols));
                 auto* to = reinterpret_cast<std::uint16_t*>(room);
                 for (std::int64_t r = 0; r < count; ++r) {
                   kernels::dequantize_row(from.view, first + r, row.data());
                   kernels::to_bf16(row.data(), to + r * from.view.cols, from.view.cols);
                 }
               });
    }
  }

  result<void> kv_b(const std::string& name, cuda_attention_weights& w) {
    const int nope = config_.qk_nope_head_dim, value = config_.v_head_dim, latent = config_.kv_lora_rank;
    TROUPE_ASSIGN(const auto stored,
                  checked(from_.matrix(name, std::int64_t{config_.head_count} * (nope + value), latent)));
    TROUPE_TRY(heads_of(w.key, latent, nope, [=](int head, std::byte* room) {
      split_key(stored.view, head, nope, value, reinterpret_cast<std::uint16_t*>(room));
    }));
    return heads_of(w.value, value, latent, [=](int head, std::byte* room) {
      split_values(stored.view, head, nope, value, reinterpret_cast<std::uint16_t*>(room));
    });
  }

  /// m [heads, rows, cols] bf16, a head at a time by `fill(head, room)`.
  template <class Fill>
  result<void> heads_of(device_matrix& m, int rows, int cols, Fill fill) {
    const auto head_bytes = static_cast<std::size_t>(rows) * cols * 2;
    m.rows = rows, m.cols = cols, m.batch_invariant = batch_invariant_;
    TROUPE_ASSIGN(m.data, allocate(head_bytes * static_cast<std::size_t>(config_.head_count)));
    for (int head = 0; head < config_.head_count; ++head)
      to_.send(m.data.as<std::byte>() + static_cast<std::size_t>(head) * head_bytes, head_bytes,
               [fill, head](std::byte* room) { fill(head, room); });
    return {};
  }

  weight_source& from_;
  const model::model_config& config_;
  uploader& to_;
  bool batch_invariant_;
};

} // namespace

result<cuda_weights> load_cuda_weights(weight_source& from, const model::model_config& config, bool batch_invariant) {
  TROUPE_TRY(check_device_shape(config));
  cuda_weights w;
  uploader to;
  loader load(from, config, to, batch_invariant);
  const auto head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  TROUPE_ASSIGN(w.embedding, load.matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size, false));
  TROUPE_ASSIGN(w.norm, load.vector("model.norm.weight", config.hidden_size));
  TROUPE_ASSIGN(w.head, load.matrix(head, config.vocab_size, config.hidden_size, false));
  for (layer_index layer = 0; layer < config.layer_count; ++layer) {
    TROUPE_ASSIGN(auto loaded, load.layer(layer));
    w.layers.push_back(std::move(loaded));
  }
  if (has_mtp(from, config)) {
    TROUPE_ASSIGN(w.mtp, load.mtp());
  }
  to.finish();
  return w;
}

result<device_ffn> load_cuda_experts(weight_source& from, const model::model_config& config, layer_index layer,
                                     std::span<const expert_index> experts, uploader& to) {
  std::vector<std::string> prefixes;
  for (const auto expert : experts) prefixes.push_back(model::expert_prefix(layer, expert));
  return loader(from, config, to).ffn(prefixes, config.moe_intermediate_size);
}

} // namespace troupe::exec
