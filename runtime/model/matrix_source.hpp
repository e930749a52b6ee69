// Tensors as the engines pack them: a matrix with its FP8 scales, a routed expert in either layout, a vector of floats.
// Names are those of model-spec.md 2.3. Views point into the checkpoint and live as long as it does.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace troupe::model {

/// Matrix `name` [rows, cols]. An FP8 matrix comes with its `<name>_scale_inv` (F32, one value a weight block).
/// "model.layers.L.mlp.experts.E.gate_proj.weight" (up_proj, down_proj) is also found in transformers' fused
/// "model.layers.L.mlp.experts.gate_up_proj" [E, 2I, H] and ".down_proj" [E, H, I].
/// Errors: bad_input naming file, tensor and reason (missing, wrong shape or dtype, no scales).
result<kernels::weight_view> load_matrix(const checkpoint& from, const model_config& config, std::string_view name,
                                         std::int64_t rows, std::int64_t cols);

/// Vector `name` [size] as fp32, from any dtype but FP8. Errors: as load_matrix().
result<std::vector<float>> load_vector(const checkpoint& from, std::string_view name, std::int64_t size);

/// How `name` is stored, in either layout; nothing if there is none.
std::optional<kernels::tensor_type> type_of(const checkpoint& from, std::string_view name);

} // namespace troupe::model
