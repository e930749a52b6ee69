// Where an engine's weights come from, by the names of model-spec.md 2.3: a checkpoint, or random numbers for a bench.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/tensor_names.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::exec {

/// A tensor in row-major order, as checkpoints store it.
struct stored_matrix {
  kernels::weight_view view;
  std::shared_ptr<const void> memory; ///< keeps the view valid; null where the source itself does
};

/// Thread-safe: layers and experts are packed side by side.
class weight_source {
 public:
  virtual ~weight_source() = default;

  /// How tensor `name` is stored; nothing if there is none. Reads no weights.
  virtual std::optional<kernels::tensor_type> type_of(const std::string& name) const = 0;
  /// Tensor `name` [rows, cols], with its scales if it is FP8. Errors: bad_input naming file, tensor and reason.
  virtual result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) = 0;
  /// Tensor `name` [size] as fp32. Errors: as matrix().
  virtual result<std::vector<float>> vector(const std::string& name, std::int64_t size) = 0;
};

/// Weights of a checkpoint. Both arguments must outlive this.
class checkpoint_weights final : public weight_source {
 public:
  checkpoint_weights(const model::checkpoint& tensors, const model::model_config& config)
      : tensors_(tensors), config_(config) {}

  std::optional<kernels::tensor_type> type_of(const std::string& name) const override;
  result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override;

 private:
  const model::checkpoint& tensors_;
  const model::model_config& config_;
};

using model::layer_prefix;
/// Whether the weights hold the MTP module that the config announces; many conversions leave it out.
bool has_mtp(const weight_source& weights, const model::model_config& config);

} // namespace troupe::exec
