// Where an engine's weights come from, by the names of model-spec.md 2.3: a checkpoint, or random numbers for a bench.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::exec {

class weight_source {
 public:
  virtual ~weight_source() = default;

  /// Tensor `name` [rows, cols], with its scales if it is FP8. The view holds until the next call.
  /// Errors: bad_input naming file, tensor and reason.
  virtual result<kernels::weight_view> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) = 0;
  /// Tensor `name` [size] as fp32.
  virtual result<std::vector<float>> vector(const std::string& name, std::int64_t size) = 0;
};

/// Weights of a checkpoint, which must outlive this.
class checkpoint_weights final : public weight_source {
 public:
  checkpoint_weights(const model::checkpoint& tensors, const model::model_config& config)
      : tensors_(tensors), config_(config) {}

  result<kernels::weight_view> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override;

 private:
  const model::checkpoint& tensors_;
  const model::model_config& config_;
};

} // namespace troupe::exec
