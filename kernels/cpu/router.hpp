// Which experts a token goes to: the gate of DeepSeek V2, V3 and R1 (model-spec.md 7.2 and 13.1), float32 throughout.
#pragma once

#include "kernels/cpu/matrix.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kernels {

enum class gate_scoring : std::uint8_t { sigmoid, softmax };
enum class gate_method : std::uint8_t {
  noaux_tc,             ///< bias-corrected; a group scores the sum of its two best
  greedy,               ///< plain top-k
  group_limited_greedy, ///< a group scores its best
};

struct gate_config {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  std::int64_t groups = 1;      ///< of consecutive experts
  std::int64_t groups_kept = 1; ///< topk_group
  gate_scoring scoring = gate_scoring::sigmoid;
  gate_method method = gate_method::noaux_tc;
  bool normalise = true; ///< norm_topk_prob
  float scaling = 1;     ///< routed_scaling_factor
};

/// Chooses from one row of logits. `bias` (noaux_tc only, else null) has one entry an expert and is used only to
/// choose; experts outside the kept groups count as -inf; ties go to the lowest index. Writes top_k expert indices,
/// ascending (the combine order), and their weights.
void choose_experts(const gate_config& config, const float* logits, const float* bias, std::int32_t* experts,
                    float* weights);

/// The gate of one layer.
class router {
 public:
  /// `weight` [experts, hidden], kept exact and multiplied in fp32 whatever the engine computes in.
  router(const gate_config& config, const weight_view& weight, std::span<const float> bias, isa set);

  const gate_config& config() const { return config_; }
  std::int64_t bytes() const { return weight_.bytes(); }
  /// x [n, hidden] -> experts, weights [n, top_k].
  void route(thread_pool& pool, const float* x, std::int64_t x_stride, std::int64_t n, std::int32_t* experts,
             float* weights) const;

 private:
  gate_config config_;
  matrix weight_;
  std::vector<float> bias_; ///< empty: none
};

} // namespace troupe::kernels
