// The engine of GPU 0 with its experts, and how far logits are from a reference.
#pragma once

#include "runtime/exec/cuda/cuda_model.hpp"
#include "runtime/exec/random_weights.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/unit/exec/reference_model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace troupe::gpu_test {

inline std::unique_ptr<exec::cuda_experts>
make_gpu_experts(exec::weight_source& weights, const model::model_config& config, std::span<const expert_index> owned) {
  return exec::cuda_experts::load(exec::open_cuda(0).value(), weights, config, owned).value();
}

inline std::vector<expert_index> all_experts(const model::model_config& config) {
  std::vector<expert_index> all(static_cast<std::size_t>(config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

/// Rows stay on the device.
inline testing::engine_rig make_gpu_rig(exec::weight_source& weights, const model::model_config& config,
                                        std::int32_t pages = 64, bool deterministic = true,
                                        exec::cache_dtype cache = exec::cache_dtype::automatic) {
  testing::engine_rig rig;
  rig.experts =
      std::make_unique<exec::cuda_local_experts>(make_gpu_experts(weights, config, all_experts(config)), config);
  rig.device = exec::cuda_model::load(exec::open_cuda(0).value(), weights, config,
                                      {.cache = cache, .page_count = pages, .deterministic = deterministic})
                   .value();
  return rig;
}

/// A small model with R1's dimensions per head.
inline model::model_config small_config() {
  auto c = exec::named_shape("small").value();
  c.vocab_size = 1000, c.hidden_size = 512, c.layer_count = 3, c.head_count = 4, c.q_lora_rank = 256;
  c.intermediate_size = 640, c.moe_intermediate_size = 128;
  c.expert_count = 16, c.group_count = 4, c.topk_group = 2, c.experts_per_token = 4;
  return c;
}

/// |got - want| / |want| of one row; infinite where something is not a number.
template <class Want>
double row_error(const Want& want, std::span<const float> got) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = got[i] - want[i];
    difference += d * d, size += double(want[i]) * want[i];
  }
  return std::isfinite(difference) ? std::sqrt(difference / size) : INFINITY;
}

/// The error that a quarter of the rows stay below: a gate that a rounding tips over costs one row much, a wrong kernel
/// costs all.
template <class Rows>
double quartile_error(const Rows& want, const testing::logit_rows& got) {
  BOOST_REQUIRE_EQUAL(want.size(), got.size());
  std::vector<double> errors;
  for (std::size_t r = 0; r < got.size(); ++r) errors.push_back(row_error(want[r], got[r]));
  std::sort(errors.begin(), errors.end());
  return errors.back() == INFINITY ? INFINITY : errors[errors.size() / 4];
}

inline testing::logit_rows to_floats(const exec::test::rows& rows) {
  testing::logit_rows out;
  for (const auto& row : rows) out.emplace_back(row.begin(), row.end());
  return out;
}

} // namespace troupe::gpu_test
