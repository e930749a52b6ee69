// Double-precision oracles of attention, in the naive form of model-spec.md 6.2, and of the gate (7.2, 13.1).
#pragma once

#include "kernels/cpu/mla_attention.hpp"
#include "kernels/cpu/router.hpp"

#include <cstdint>
#include <vector>

namespace troupe::kernels::ref {

/// One row: q [heads, nope + rope], entries[s] = [latent | rope] for positions 0..p -> o [heads * value].
std::vector<double> mla(const mla_shape& shape, const weight_view& kv_b, const std::vector<double>& q,
                        const std::vector<std::vector<double>>& entries);

/// One row and head over the cache as it lies (model-spec.md 6.3): q and entries[s] [latent | rope] -> z [latent].
std::vector<double> absorbed_mla(const std::vector<double>& q, const std::vector<std::vector<double>>& entries,
                                 std::int64_t latent, double scale);

struct choice {
  std::vector<std::int32_t> experts; ///< ascending
  std::vector<double> weights;
};
choice choose_experts(const gate_config& config, const std::vector<double>& logits, const std::vector<double>& bias);

/// Rotates interleaved pairs by position * frequency, as complex numbers.
std::vector<double> rotate(const std::vector<double>& x, const std::vector<double>& frequencies, double position);

} // namespace troupe::kernels::ref
