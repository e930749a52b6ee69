#include "runtime/exec/random_weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace troupe::exec {
namespace {

constexpr std::uint64_t gamma = 0x9e3779b97f4a7c15;

/// splitmix64 (Steele, Lea, Flood 2014): 8 GB/s a core, and any counter may be asked for.
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class generator {
 public:
  generator(std::uint64_t seed, std::string_view name) : state_(mix(seed + gamma)) {
    for (const char c : name) state_ = mix(state_ + static_cast<unsigned char>(c) + gamma);
  }
  std::uint64_t bits() { return mix(state_ += gamma); }
  std::uint64_t state() const { return state_; }
  void skip(std::int64_t numbers) { state_ += gamma * static_cast<std::uint64_t>(numbers); }
  /// Uniform in [low, high).
  float uniform(float low, float high) { return low + (high - low) * (static_cast<float>(bits() >> 40) * 0x1.0p-24f); }

 private:
  std::uint64_t state_;
};

struct tensor_memory {
  kernels::buffer values;
  std::vector<float> scales;
};

/// Calls store(i, r) for i in [0, count) with a uniform 16-bit r.
template <class Store>
void fill(generator& random, std::int64_t count, Store store) {
  for (std::int64_t i = 0; i < count; i += 4) {
    auto bits = random.bits();
    for (auto j = i; j < std::min(i + 4, count); ++j, bits >>= 16) store(j, static_cast<std::int16_t>(bits));
  }
}

/// Every code but NaN, equally often: magnitudes from 2^-9 to 448 with a root mean square of 106.
void fill_f8(generator& random, std::int64_t count, std::uint8_t* codes) {
  fill(random, count, [codes](std::int64_t i, std::int16_t r) {
    const auto code = static_cast<std::uint8_t>(r);
    codes[i] = (code & 0x7f) == 0x7f ? static_cast<std::uint8_t>(code & 0xfe) : code;
  });
}

/// Scales of FP8 blocks; `random` is past the values.
std::vector<float> draw_scales(generator& random, std::int64_t rows, std::int64_t cols, float deviation) {
  std::vector<float> scales(static_cast<std::size_t>(((rows + 127) / 128) * ((cols + 127) / 128)));
  for (auto& scale : scales) scale = random.uniform(0.75f, 1.25f) * deviation / 106;
  return scales;
}

/// Outputs of a projection have variance 1, and so have the rows of a table.
float deviation_of(const std::string& name, std::int64_t cols) {
  return name.ends_with("embed_tokens.weight") ? 1 : 1 / std::sqrt(static_cast<float>(cols));
}

/// A uniform number in (-a, a) has variance a²/3.
float step_of(float deviation) { return deviation * std::sqrt(3.0f) / 32768; }

bool quantised(const std::string& name) { return name.ends_with("_proj.weight") && !name.ends_with("eh_proj.weight"); }

} // namespace

std::optional<kernels::tensor_type> random_weights::type_of(const std::string& name) const {
  return type_ == kernels::tensor_type::f8_e4m3 && !quantised(name) ? kernels::tensor_type::bf16 : type_;
}

result<stored_matrix> random_weights::matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
  using kernels::tensor_type;
  auto kept = std::make_shared<tensor_memory>();
  auto& memory = *kept;
  generator random(seed_, name);
  const auto type = *type_of(name);
  const float deviation = deviation_of(name, cols);
  memory.values = kernels::buffer(static_cast<std::size_t>(rows * cols) * kernels::bytes_of(type));

  kernels::weight_view view{.type = type, .data = memory.values.data(), .rows = rows, .cols = cols};
  const float step = step_of(deviation);
  if (type == tensor_type::f8_e4m3) {
    fill_f8(random, rows * cols, memory.values.as<std::uint8_t>());
    memory.scales = draw_scales(random, rows, cols, deviation);
    view.scales = reinterpret_cast<const std::byte*>(memory.scales.data());
  } else if (type == tensor_type::bf16) {
    auto* values = memory.values.as<std::uint16_t>();
    fill(random, rows * cols, [=](std::int64_t i, std::int16_t r) { values[i] = kernels::float_to_bf16(r * step); });
  } else if (type == tensor_type::f32) {
    auto* values = memory.values.as<float>();
    fill(random, rows * cols, [=](std::int64_t i, std::int16_t r) { values[i] = r * step; });
  } else {
    return error{errc::unsupported, "random weights: no f16"};
  }
  return stored_matrix{view, std::move(kept)};
}

std::optional<random_matrix> random_weights::random(const std::string& name, std::int64_t rows,
                                                    std::int64_t cols) const {
  generator random(seed_, name);
  random_matrix recipe{.type = *type_of(name), .state = random.state(), .step = step_of(deviation_of(name, cols))};
  if (recipe.type == kernels::tensor_type::bf16) return recipe;
  if (recipe.type != kernels::tensor_type::f8_e4m3) return std::nullopt;
  random.skip((rows * cols + 3) / 4);
  recipe.scales = draw_scales(random, rows, cols, deviation_of(name, cols));
  return recipe;
}

result<std::vector<float>> random_weights::vector(const std::string& name, std::int64_t size) {
  generator random(seed_, name);
  const bool norm = name.ends_with("norm.weight"); // away from one, or an error in their order stays hidden
  std::vector<float> values(static_cast<std::size_t>(size));
  for (auto& v : values) v = norm ? random.uniform(0.5f, 1.5f) : random.uniform(0, 0.25f);
  return values;
}

result<model::model_config> named_shape(std::string_view name, int moe_layers) {
  model::model_config c;
  c.mtp_layer_count = 1;
  c.first_k_dense_replace = 1;
  c.shared_expert_count = 1;
  c.routed_scaling_factor = 2.5f;
  c.eos_token_ids = {1};
  c.yarn.emplace();
  c.yarn->factor = 40, c.yarn->mscale = 1, c.yarn->mscale_all_dim = 1;
  c.max_position_embeddings = 163840;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  if (name == "tiny") {
    c.vocab_size = 259, c.hidden_size = 64, c.layer_count = 3, c.head_count = 4;
    c.q_lora_rank = 32, c.kv_lora_rank = 16, c.qk_nope_head_dim = 16, c.qk_rope_head_dim = 8, c.v_head_dim = 12;
    c.intermediate_size = 96, c.moe_intermediate_size = 24;
    c.expert_count = 8, c.group_count = 4, c.topk_group = 2, c.experts_per_token = 3;
    c.yarn->factor = 4, c.yarn->original_max_position_embeddings = 32, c.max_position_embeddings = 128;
  } else if (name == "small") {
    c.vocab_size = 32768, c.hidden_size = 1024, c.layer_count = 13, c.head_count = 8, c.q_lora_rank = 512;
    c.intermediate_size = 4096, c.moe_intermediate_size = 384;
    c.expert_count = 32, c.group_count = 4, c.topk_group = 2, c.experts_per_token = 6;
  } else if (name == "r1" || name == "r1-slice") {
    const bool whole = name == "r1";
    c.first_k_dense_replace = whole ? 3 : 1;
    c.layer_count = whole ? 61 : 1 + moe_layers, c.mtp_layer_count = whole ? 1 : 0;
    c.vocab_size = 129280, c.hidden_size = 7168, c.head_count = 128;
    c.q_lora_rank = 1536, c.intermediate_size = 18432, c.moe_intermediate_size = 2048;
    c.expert_count = 256, c.group_count = 8, c.topk_group = 4, c.experts_per_token = 8;
  } else {
    return error{errc::not_found, "no shape '" + std::string(name) + "': tiny, small, r1-slice, r1"};
  }
  return c;
}

} // namespace troupe::exec
