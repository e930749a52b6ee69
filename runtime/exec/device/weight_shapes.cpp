#include "runtime/exec/device/weight_shapes.hpp"

#include "kernels/cpu/bf16.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace troupe::exec {

result<void> check_device_shape(const model::model_config& c) {
  const auto want = [](const char* field, int value, bool good, const char* rule) -> result<void> {
    if (good) return {};
    return error{errc::unsupported, std::string("device cuda: ") + field + " " + std::to_string(value) + " must be " +
                                        rule + "; --device cpu runs any shape"};
  };
  const auto multiple = [&](const char* field, int value) {
    return want(field, value, value % 64 == 0, "a multiple of 64");
  };
  TROUPE_TRY(want("kv_lora_rank", c.kv_lora_rank, c.kv_lora_rank == 512, "512"));
  TROUPE_TRY(want("qk_rope_head_dim", c.qk_rope_head_dim, c.qk_rope_head_dim == 64, "64"));
  TROUPE_TRY(multiple("qk_nope_head_dim", c.qk_nope_head_dim));
  TROUPE_TRY(multiple("v_head_dim", c.v_head_dim));
  TROUPE_TRY(multiple("hidden_size", c.hidden_size));
  TROUPE_TRY(multiple("q_lora_rank", c.q_lora_rank));
  TROUPE_TRY(multiple("intermediate_size", c.intermediate_size));
  TROUPE_TRY(multiple("moe_intermediate_size", c.moe_intermediate_size));
  TROUPE_TRY(want("n_routed_experts", c.expert_count, c.expert_count <= 1024, "at most 1024"));
  TROUPE_TRY(want("num_experts_per_tok", c.experts_per_token, c.experts_per_token <= 32, "at most 32"));
  return want("n_group", c.group_count, c.group_count <= 64, "at most 64");
}

bool fits_grouped_ffn(int hidden, int width, int experts) {
  return hidden % 256 == 0 && width % 128 == 0 && experts <= 256;
}

bool fits_fp8_ffn(int hidden, int width, int experts, int block_rows, int block_cols) {
  return fits_grouped_ffn(hidden, width, experts) && block_rows == 128 && block_cols == 128;
}

void split_key(const kernels::weight_view& kv_b, int head, int nope, int value, std::uint16_t* key) {
  constexpr int strip = 32; // rows that are transposed together, whose parts of a key row are a cache line
  const auto latent = static_cast<std::size_t>(kv_b.cols);
  std::vector<float> row(latent);
  std::vector<std::uint16_t> bits(strip * latent);
  for (int first = 0; first < nope; first += strip) {
    const int rows = std::min(strip, nope - first);
    for (int r = 0; r < rows; ++r) {
      kernels::dequantize_row(kv_b, std::int64_t{head} * (nope + value) + first + r, row.data());
      kernels::to_bf16(row.data(), bits.data() + static_cast<std::size_t>(r) * latent, kv_b.cols);
    }
    for (std::size_t c = 0; c < latent; ++c)
      for (int r = 0; r < rows; ++r)
        key[c * static_cast<std::size_t>(nope) + static_cast<std::size_t>(first + r)] =
            bits[static_cast<std::size_t>(r) * latent + c];
  }
}

void split_values(const kernels::weight_view& kv_b, int head, int nope, int value, std::uint16_t* values) {
  std::vector<float> row(static_cast<std::size_t>(kv_b.cols));
  for (int r = 0; r < value; ++r) {
    kernels::dequantize_row(kv_b, std::int64_t{head} * (nope + value) + nope + r, row.data());
    kernels::to_bf16(row.data(), values + r * kv_b.cols, kv_b.cols);
  }
}

} // namespace troupe::exec
