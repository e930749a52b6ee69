// Which tensors a role reads, as a pure function of the config: checked before anything is loaded, so that a wrong
// checkpoint is refused in a moment and by name. No role's plan holds another role's weights.
#pragma once

#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe::model {

/// A tensor by its name in model-spec.md 2.3. Routed experts may be stored fused, and a matrix may be FP8 with scales.
struct planned_tensor {
  std::string name;
  std::vector<std::int64_t> shape; ///< [rows, cols] or [size]
};

using weight_plan = std::vector<planned_tensor>;

/// What a kv_cache reads: everything but the routed experts. The module's copies of embedding and head are left out,
/// since they equal the model's own.
weight_plan plan_attention(const model_config& config, bool with_mtp);
/// What an expert_shard reads: these experts of every MoE layer.
weight_plan plan_experts(const model_config& config, std::span<const expert_index> experts, bool with_mtp);

/// Looks for every tensor of `plan` and returns how many bytes they are, scales included. Reads no matrix.
/// Errors: bad_input naming file, tensor and reason.
result<std::int64_t> check_plan(const weight_plan& plan, const checkpoint& from, const model_config& config);

/// Unmaps everything of `from` that the plan does not read. Errors: as check_plan.
result<void> keep_plan(const weight_plan& plan, checkpoint& from, const model_config& config);

} // namespace troupe::model
