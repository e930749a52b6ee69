// engine on one GPU: one step of deepseek_v3 over the latent cache, and the MTP module's draft (model-spec.md 3, 10).
// The residual stream is fp32; products read bf16, routed experts with FP8 weights e4m3 in groups of 128. A row's bits
// depend on its own sequence and the weights only: not on the batch, chunking, or on where its experts are. Decode
// steps whose experts are on the same GPU are replayed as graphs, and in pieces where shards map this GPU's memory.
#pragma once

#include "kernels/cpu/rope.hpp"
#include "kernels/cuda/gate_permute.hpp"
#include "runtime/exec/cuda/cuda_attention.hpp"
#include "runtime/exec/cuda/cuda_experts.hpp"
#include "runtime/exec/cuda/device_logits.hpp"
#include "runtime/exec/cuda/device_sampler.hpp"
#include "runtime/exec/cuda/far_experts.hpp"
#include "runtime/exec/cuda/mapped_rows.hpp"
#include "runtime/exec/cuda/step_graphs.hpp"
#include "runtime/exec/device/plugin.hpp"

#include <array>
#include <memory>
#include <optional>
#include <vector>

namespace troupe::exec {

class cuda_model final : public engine {
 public:
  /// Errors: as device_plugin::make_engine.
  static result<std::unique_ptr<cuda_model>> load(const cuda_device& device, weight_source& from,
                                                  const model::model_config& config,
                                                  const device_engine_options& options);

  const engine_info& info() const override { return info_; }
  result<void> forward(std::span<const row_group> groups, expert_client& experts) override;
  std::span<const float> logits(std::int32_t i) const override { return logits_.row(device_, i); }
  std::vector<result<sampled_token>> sample(std::span<const sample_row> rows, sampler& how) override;
  result<std::vector<token_id>> draft(std::span<const draft_group> groups, expert_client& experts) override;

  /// Logits of the i-th wanted draft of the last draft().
  std::span<const float> draft_logits(std::int32_t i) const { return draft_logits_.row(device_, i); }

 private:
  cuda_model(const cuda_device& device, const model::model_config& config, cuda_weights weights);

  result<void> make_cache(const device_engine_options& options);
  result<void> check(std::span<const token_id> tokens, std::int64_t first_position,
                     std::span<const page_id> pages) const;
  /// One pass over a batch: a graph if it is small and its experts are near, pieces if they map.
  result<void> run(step_shape::pass what, std::vector<sequence_tokens> sequences, std::vector<std::int32_t> wanted,
                   expert_client& experts);
  device_batch send(std::span<const sequence_tokens> sequences, std::span<const std::int32_t> wanted);
  cuda_experts* near_experts(expert_client& experts) const;
  /// Rows that go through the layers together.
  struct pass {
    device_batch batch;
    float* x;                        ///< [rows, hidden] residual stream
    far_experts* far;                ///< for experts elsewhere
    mapped_rows* mapped;             ///< instead, where shards map; else null
    std::optional<step_shape> piece; ///< with a layer, what a launch is replayed by; nothing: it is not
  };
  /// Two halves from `least` rows on, if given, else all rows at once.
  std::vector<pass> cut(const device_batch& batch, const std::optional<step_shape>& shape,
                        std::optional<std::int32_t> least, expert_client& experts);
  /// All launches of a step and, between them, what is said to experts elsewhere. Pieces are replayed by `shape`.
  result<void> launch_forward(const device_batch& batch, const std::optional<step_shape>& shape,
                              expert_client& experts);
  result<void> launch_draft(const device_batch& batch, const std::optional<step_shape>& shape, expert_client& experts);
  /// With experts elsewhere, their outputs are added when the next layer or run_end() begins.
  result<void> run_layer(const cuda_layer_weights& w, layer_index layer, const pass& of, expert_client& experts);
  /// What follows the last layer.
  result<void> run_end(std::span<const pass> passes, expert_client& experts, const step_graphs::launches& launch);
  /// Waits for the outputs of experts elsewhere, if some are at work. True: they are mapped, and add() is to be called.
  result<bool> collect(const pass& of, expert_client& experts);
  void replay(const std::optional<step_shape>& piece, layer_index layer, const step_graphs::launches& launch);
  device_rows launch_layer(const cuda_layer_weights& w, layer_index layer, const pass& of, cuda_experts* near);
  device_rows launch_mixture(const cuda_layer_weights& w, layer_index layer, const pass& of,
                             const std::uint16_t* normed, cuda_experts* near);
  void choose_experts(const cuda_layer_weights& w, const device_rows& rows);
  void mix_draft_input(const device_batch& batch);
  void project_head(const float* x, const device_batch& batch, const device_memory& norm, device_logits& to);

  model::model_config config_;
  cuda_device device_;
  cuda_weights weights_;
  cuda::route_config gate_;
  engine_info info_;
  kernels::rope rotary_;
  cuda_stream stream_, side_; // shared experts run beside the gate
  cuda_event normed_{cudaEventDisableTiming}, own_ready_{cudaEventDisableTiming};
  device_memory cache_; // [layers][pages][64] entries of cache_format_
  kernels::cache_format cache_format_ = kernels::cache_format::plain;
  products products_;
  cuda_attention attention_;
  cuda_ffn ffn_;
  row_norm ffn_input_, head_input_;
  pinned_scratch<std::uint32_t> host_batch_;
  device_scratch<std::uint32_t> batch_;
  device_scratch<float> x_;      // [rows, hidden] residual stream
  device_scratch<float> hidden_; // [rows, hidden] of the last forward(), after the final norm
  int hidden_rows_ = 0;
  device_scratch<int> chosen_; // [rows, experts_per_token]
  device_scratch<float> weights_of_choice_, gate_logits_;
  device_scratch<std::uint16_t> mixed_; // [rows, 2 hidden] input of the MTP module
  device_scratch<float> embedded_;
  std::array<far_experts, 2> far_;
  std::array<mapped_rows, 2> mapped_;
  device_logits logits_, draft_logits_;
  device_sampler sampler_;
  step_graphs graphs_, pieces_;
};

} // namespace troupe::exec
