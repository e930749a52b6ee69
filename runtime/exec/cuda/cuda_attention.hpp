// The attention block of one layer on the device, absorbed for every row (model-spec.md 6.3).
#pragma once

#include "kernels/cache_format.hpp"
#include "kernels/cuda/linear.hpp"
#include "runtime/exec/cuda/cuda_weights.hpp"
#include "runtime/exec/device/batch_layout.hpp"

namespace troupe::exec {

/// y [tokens, w.rows] = x wᵀ (+ bias), or y += for linear_out::add_f32; x [tokens, w.cols] bf16.
void multiply(const device_matrix& w, const std::uint16_t* x, int tokens, void* y, cuda::linear_out out,
              const float* bias, cudaStream_t stream);

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
  void project(const cuda_attention_weights& w, const device_batch& batch, const std::uint16_t* normed,
               cudaStream_t stream);
  void attend(const device_batch& batch, const layer_cache& cache, cudaStream_t stream);
  const std::uint16_t* attended(const cuda_attention_weights& w, int rows, cudaStream_t stream);

  const model::model_config& config_;
  float scale_;
  row_norm input_, query_norm_;
  device_scratch<float> projected_;        // [rows, q_lora_rank + 576] of the query and of the entry
  device_scratch<float> query_;            // [rows, heads, nope + rope]
  device_scratch<std::uint16_t> nope_;     // [rows, heads, nope]
  device_scratch<std::uint16_t> absorbed_; // [rows, heads, 576]
  device_scratch<std::uint16_t> latent_;   // [rows, heads, 512] attended
  device_scratch<std::uint16_t> values_;   // [rows, heads, v]
  device_scratch<float> partial_out_, partial_lse_;
};

} // namespace troupe::exec
