// engine on the CPU: one step of deepseek_v3 over the latent cache, and the MTP module's draft (model-spec.md 3 and
// 10).
#pragma once

#include "runtime/exec/cpu_attention.hpp"
#include "runtime/exec/cpu_cache.hpp"
#include "runtime/exec/cpu_ffn.hpp"

namespace troupe::exec {

/// The residual stream is fp32; in bfloat16 mode the kernels round the inputs of every product.
class cpu_model final : public engine {
 public:
  cpu_model(const model::model_config& config, const cpu_device& device, cpu_weights weights, std::int32_t page_count,
            kernels::cache_format format);

  const engine_info& info() const override { return info_; }
  result<void> forward(std::span<const row_group> groups, expert_client& experts) override;
  std::span<const float> logits(std::int32_t i) const override { return row_of(logits_, i, config_.vocab_size); }
  result<std::vector<token_id>> draft(std::span<const draft_group> groups, expert_client& experts) override;

  /// Logits of the i-th wanted draft of the last draft().
  std::span<const float> draft_logits(std::int32_t i) const { return row_of(draft_logits_, i, config_.vocab_size); }
  /// Bytes of weights that every step reads, whatever its rows: all but the embedding, the MTP module and the experts.
  std::int64_t step_bytes() const;

 private:
  static std::span<const float> row_of(const std::vector<float>& values, std::int64_t row, std::int64_t width) {
    return std::span(values).subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width));
  }

  result<void> check(std::span<const token_id> tokens, std::int64_t first_position,
                     std::span<const page_id> pages) const;
  /// Rows that go through the layers together: all of a step, or half of them.
  struct pass {
    cpu_batch batch;
    std::int64_t first_row; ///< in x_, normed_ and out_
    moe::routing choice = {};
  };
  std::vector<pass> cut(std::span<const sequence_rows> sequences, std::int64_t rows,
                        const expert_client& experts) const;
  std::span<float> rows_of(std::vector<float>& all, const pass& of) const;
  result<void> start_layer(const layer_weights& w, layer_index layer, pass& of, expert_client& experts);
  result<void> finish_layer(const layer_weights& w, const pass& of, expert_client& experts);
  void add_to_x(const pass& of);
  void norm_rows(const float* x, const std::vector<float>& weight, std::int64_t rows, float* y);
  void embed(token_id token, float* row) const;
  void mix_draft_input(std::span<const draft_group> groups, std::int64_t rows);
  void project_head(const float* hidden, const std::vector<std::int32_t>& rows, std::vector<float>& logits);

  model::model_config config_;
  cpu_device device_;
  cpu_weights weights_;
  engine_info info_;
  cpu_cache cache_;
  kernels::rope rotary_;
  cpu_attention attention_;
  cpu_ffn ffn_;
  kernels::packed_rows head_input_;
  std::vector<float> x_;      // [rows, hidden] residual stream
  std::vector<float> normed_; // [rows, hidden], and [rows, 2 hidden] before the MTP module
  std::vector<float> out_;    // [rows, hidden] what a block adds to x
  std::vector<float> hidden_; // [rows, hidden] of the last forward(), after the final norm
  std::vector<float> logits_;
  std::vector<float> draft_logits_;
};

} // namespace troupe::exec
