// The attention block of one layer, from the normed input to the output projection (model-spec.md section 6).
#pragma once

#include "runtime/exec/cpu_batch.hpp"
#include "runtime/exec/cpu_weights.hpp"

#include <vector>

namespace troupe::exec {

/// Keeps scratch memory between layers and steps; one caller at a time.
class cpu_attention {
 public:
  cpu_attention(const model::model_config& config, const cpu_device& device, kernels::cache_format format);

  /// out = MLA(normed), both [rows, hidden]. Writes the rows' entries into `cache`, one layer's pool, first.
  void run(const attention_weights& w, const cpu_batch& batch, const float* normed, std::byte* cache, float* out);

 private:
  void project_query(const attention_weights& w, std::int64_t rows);
  void rotate_query(const cpu_batch& batch, std::int64_t row);
  void cache_row(const attention_weights& w, const cpu_batch& batch, std::int64_t row, std::byte* cache);

  const model::model_config& config_;
  cpu_device device_;
  kernels::mla_shape shape_;
  kernels::cache_type cache_;
  kernels::rope rotary_;
  kernels::mla_attention mla_;
  kernels::packed_rows input_;
  std::vector<float> query_latent_; // [rows, q_lora_rank]
  std::vector<float> query_;        // [rows, heads, nope + rope]
  std::vector<float> entry_;        // [rows, latent + rope]
  std::vector<float> attended_;     // [rows, heads, value]
};

} // namespace troupe::exec
