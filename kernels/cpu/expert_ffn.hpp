// SwiGLU feed-forward of many experts at once: down( silu(x gateᵀ) * (x upᵀ) ), model-spec.md 7.1.
// One task list over (expert, block of outputs), so that all cores work however few rows each expert has.
#pragma once

#include "kernels/cpu/matrix.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kernels {

/// gate, up [width, hidden] and down [hidden, width], all packed for the same target.
struct ffn_weights {
  matrix gate;
  matrix up;
  matrix down;

  std::int64_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
};

/// One expert applied to some rows of a common input.
struct ffn_job {
  const ffn_weights* weights = nullptr;
  std::span<const std::int32_t> rows;    ///< rows of x, any order
  std::byte* y = nullptr;                ///< [rows, hidden] results of rows[i], unweighted
  tensor_type y_type = tensor_type::f32; ///< or bf16: rounded
};

/// Keeps scratch memory between calls; one caller at a time.
class expert_ffn {
 public:
  explicit expert_ffn(target t) : target_(t) {}

  /// Runs every job on rows of `x`. Jobs may have different widths but one hidden size.
  void run(thread_pool& pool, const row_view& x, std::span<const ffn_job> jobs);

 private:
  target target_;
  std::vector<packed_rows> inputs_;
  std::vector<packed_rows> hidden_;
};

} // namespace troupe::kernels
