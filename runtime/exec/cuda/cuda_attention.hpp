// The attention block of one layer on the device: absorbed for every row (model-spec.md 6.3), so that a row's bits do
// not depend on its chunk. Without that promise (device_matrix::batch_invariant) long chunks on Hopper expand keys and
// values of all heads first (6.2): less than a third of the arithmetic.
#pragma once

#include "kernels/cache_format.hpp"
#include "runtime/exec/cuda/products.hpp"
#include "runtime/exec/device/batch_layout.hpp"

namespace troupe::exec {

/// fp32 rows on the device.
struct float_rows {
  const float* first = nullptr;
  std::int64_t pitch = 0;
  const int* row_of = nullptr; ///< picks rows; null: all, in order
};

/// Norm of fp32 rows into bf16 rows, with memory of its own.
class row_norm {
 public:
  const std::uint16_t* run(const float_rows& x, int tokens, int width, const device_memory& weight, float eps,
                           cudaStream_t stream);

 private:
  device_scratch<std::uint16_t> rows_;
};

/// One layer's pool [pages, 64] of entries.
struct layer_cache {
  void* entries = nullptr;
  int pages = 0;
  kernels::cache_format format = kernels::cache_format::plain;
};

/// Keeps scratch memory between layers and steps; one caller at a time.
class cuda_attention {
 public:
  explicit cuda_attention(const model::model_config& config);

  /// x += MLA(norm(x)), x [rows, hidden] fp32. Writes the rows' entries into `cache` first.
  void run(const cuda_layer_weights& w, const device_batch& batch, const layer_cache& cache, float* x,
           cudaStream_t stream);

 private:
  /// Where the queries of a token's heads go, bf16, and how far apart the heads are.
  struct query_rows {
    std::uint16_t *nope, *rope;
    int nope_pitch, rope_pitch;
  };

  void project(const cuda_attention_weights& w, const device_batch& batch, const std::uint16_t* normed,
               cudaStream_t stream);
  bool expands(const cuda_attention_weights& w, const batch_chunk& chunk, const layer_cache& cache) const;
  void split_rows(const cuda_attention_weights& w, const device_batch& batch, const batch_chunk& rows,
                  const query_rows& to, const layer_cache& cache, cudaStream_t stream);
  void attend_absorbed(const cuda_attention_weights& w, const device_batch& batch, const batch_chunk& rows,
                       const layer_cache& cache, cudaStream_t stream);
  void attend_latent(const device_batch& batch, const batch_chunk& rows, const layer_cache& cache, cudaStream_t stream);
  void attend_expanded(const cuda_attention_weights& w, const device_batch& batch, const batch_chunk& chunk,
                       const layer_cache& cache, cudaStream_t stream);
  /// Rows from `first` on of what the output projection reads, [rows, heads, v].
  std::uint16_t* values_at(int first) const {
    return values_.get() + static_cast<std::size_t>(first) * config_.head_count * config_.v_head_dim;
  }

  const model::model_config& config_;
  float scale_;
  products products_;
  row_norm input_, query_norm_;
  device_scratch<float> projected_;        // [rows, q_lora_rank + 576] of the query and of the entry
  device_scratch<float> query_;            // [rows, heads, nope + rope]
  device_scratch<std::uint16_t> nope_;     // [rows, heads, nope]
  device_scratch<std::uint16_t> absorbed_; // [rows, heads, 576]
  device_scratch<std::uint16_t> latent_;   // [rows, heads, 512] attended
  device_scratch<std::uint16_t> values_;   // [rows, heads, v]
  device_scratch<float> partial_out_, partial_lse_;
  device_scratch<std::uint16_t> whole_query_; // [rows, heads, nope + rope] of a long chunk
  device_scratch<std::uint16_t> entries_;     // [positions, 576] of its sequence
  device_scratch<std::uint16_t> keys_values_; // [positions, heads, nope + v]
};

} // namespace troupe::exec
