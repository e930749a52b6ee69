// Where an engine's weights come from, by the names of model-spec.md 2.3: a checkpoint, or random numbers for a bench.
#pragma once

#include "kernels/cpu/matrix.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/tensor_names.hpp"
#include "runtime/model/weight_plan.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe::exec {

/// A tensor in row-major order, as checkpoints store it.
struct stored_matrix {
  kernels::weight_view view;
  std::shared_ptr<const void> memory; ///< keeps the view valid; null where the source itself does
};

/// A matrix of random numbers, for a device that makes them by itself: 11.5 GB a layer would take the host minutes.
/// Value i comes from 16 bits of number i / 4 of the splitmix64 sequence that starts at `state`.
struct random_matrix {
  kernels::tensor_type type = kernels::tensor_type::bf16;
  std::uint64_t state = 0;
  float step = 0;            ///< bf16: value = bits * step, rounded
  std::vector<float> scales; ///< f8_e4m3, whose codes are the low eight bits: of each 128x128 block
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
  /// Looks for every tensor of `plan`, so that a wrong checkpoint is refused in a moment, and by the same line on every
  /// run. Reads no weights. Errors: as matrix().
  virtual result<void> check(const model::weight_plan& /*plan*/) const { return {}; }
  /// From now on only tensors of `plan` are asked for. Errors: as matrix().
  virtual result<void> keep(const model::weight_plan& /*plan*/) { return {}; }
  /// What matrix() would return, as a recipe; nothing: it has to be read.
  virtual std::optional<random_matrix> random(const std::string& /*name*/, std::int64_t /*rows*/,
                                              std::int64_t /*cols*/) const {
    return std::nullopt;
  }
};

/// Weights of a checkpoint.
class checkpoint_weights final : public weight_source {
 public:
  checkpoint_weights(model::checkpoint tensors, model::model_config config)
      : tensors_(std::move(tensors)), config_(std::move(config)) {}

  std::optional<kernels::tensor_type> type_of(const std::string& name) const override;
  result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override;
  result<void> check(const model::weight_plan& plan) const override;
  /// Unmaps the rest.
  result<void> keep(const model::weight_plan& plan) override;

 private:
  model::checkpoint tensors_;
  model::model_config config_;
};

using model::layer_prefix;
/// Whether the weights hold the MTP module that the config announces; many conversions leave it out.
bool has_mtp(const weight_source& weights, const model::model_config& config);

} // namespace troupe::exec
