// Rotary embedding with YaRN, model-spec.md section 5: frequencies, the two mscale effects, and the rotation.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace troupe::kernels {

struct yarn_scaling {
  float factor = 1;
  std::int64_t original_max_position = 4096;
  float beta_fast = 32;
  float beta_slow = 1;
  float mscale = 0;
  float mscale_all_dim = 0;
  std::optional<float> attention_factor;
  bool truncate = true; ///< floor and ceil the ends of the blend
};

struct rope_config {
  std::int64_t dim = 64; ///< rotated channels, even
  float base = 10000;
  std::optional<yarn_scaling> yarn;
  bool interleaved = true; ///< pairs (2i, 2i+1); otherwise (i, i + dim/2)
};

/// (qk head dim)^-1/2, times g(factor, mscale_all_dim)² under YaRN (5.3).
float softmax_scale(const rope_config& config, std::int64_t qk_head_dim);

/// Frequencies of one model. Immutable.
class rope {
 public:
  explicit rope(const rope_config& config);

  /// dim/2 values (5.1).
  const std::vector<float>& inverse_frequencies() const { return inverse_frequencies_; }
  /// cos and sin of one position, multiplied by the attention factor; dim/2 values each. All heads of a row share them.
  void angles(std::int64_t position, float* cos, float* sin) const;
  /// Rotates one vector of dim channels in place and leaves it in the layout it came in.
  void rotate(float* x, const float* cos, const float* sin) const;

 private:
  rope_config config_;
  std::vector<float> inverse_frequencies_;
  float attention_factor_ = 1;
};

} // namespace troupe::kernels
