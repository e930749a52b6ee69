#include "runtime/model/matrix_source.hpp"

#include "runtime/model/file_error.hpp"
#include "runtime/model/tensor_names.hpp"

#include <array>
#include <string>

namespace troupe::model {
namespace {

using kernels::ceil_div;
using kernels::tensor_type;
using kernels::weight_view;

/// Attaches the scales of the FP8 tensor `name`, whose whole scale tensor has the shape `shape`.
result<void> attach_scales(weight_view& w, const checkpoint& from, const std::string& name,
                           std::span<const std::int64_t> shape, std::int64_t first_scale) {
  const auto scale_name = name + "_scale_inv";
  TROUPE_ASSIGN(const auto scales, from.require(scale_name, shape));
  if (scales.type != tensor_type::f32) return file_error(scales.file, scale_name, "must have dtype F32");
  w.scales = scales.bytes.data() + first_scale * 4;
  return {};
}

weight_view view_of(const tensor_view& tensor, std::int64_t first, std::int64_t rows, std::int64_t cols,
                    const model_config& config) {
  const auto element = static_cast<std::int64_t>(bytes_of(tensor.type));
  return {tensor.type,
          tensor.bytes.data() + first * element,
          rows,
          cols,
          nullptr,
          config.weight_block_rows,
          config.weight_block_cols};
}

/// One expert's part of a fused tensor [experts, height, cols], from row `row` on.
result<weight_view> load_fused(const checkpoint& from, const model_config& config, const fused_expert& fused,
                               std::int64_t rows, std::int64_t cols) {
  const std::int64_t height = rows * fused.parts;
  const std::array shape{std::int64_t{config.expert_count}, height, cols};
  TROUPE_ASSIGN(const auto tensor, from.require(fused.name, shape));
  const auto row = rows * fused.part;
  auto w = view_of(tensor, (fused.expert * height + row) * cols, rows, cols, config);
  if (tensor.type != tensor_type::f8_e4m3) return w;
  if (row % w.block_rows != 0)
    return file_error(tensor.file, fused.name, "a weight block reaches over gate and up rows");
  const auto scale_rows = ceil_div(height, w.block_rows), scale_cols = ceil_div(cols, w.block_cols);
  const std::array scale_shape{shape[0], scale_rows, scale_cols};
  const auto first_scale = (fused.expert * scale_rows + row / w.block_rows) * scale_cols;
  TROUPE_TRY(attach_scales(w, from, fused.name, scale_shape, first_scale));
  return w;
}

} // namespace

result<weight_view> load_matrix(const checkpoint& from, const model_config& config, std::string_view name,
                                std::int64_t rows, std::int64_t cols) {
  if (!from.find(name))
    if (const auto fused = fused_expert_of(name); fused && from.find(fused->name)) {
      if (fused->expert >= config.expert_count)
        return file_error(from.find(fused->name)->file, fused->name, "has no expert " + std::to_string(fused->expert));
      return load_fused(from, config, *fused, rows, cols);
    }
  TROUPE_ASSIGN(const auto tensor, from.require(name, std::array{rows, cols}));
  auto w = view_of(tensor, 0, rows, cols, config);
  if (tensor.type != tensor_type::f8_e4m3) return w;
  const std::array scale_shape{ceil_div(rows, w.block_rows), ceil_div(cols, w.block_cols)};
  TROUPE_TRY(attach_scales(w, from, std::string(name), scale_shape, 0));
  return w;
}

result<std::vector<float>> load_vector(const checkpoint& from, std::string_view name, std::int64_t size) {
  TROUPE_ASSIGN(const auto tensor, from.require(name, std::array{size}));
  if (tensor.type == tensor_type::f8_e4m3)
    return file_error(tensor.file, name, "dtype F8_E4M3 is not supported for a vector");
  std::vector<float> values(static_cast<std::size_t>(size));
  kernels::dequantize_row({tensor.type, tensor.bytes.data(), 1, size}, 0, values.data());
  return values;
}

std::optional<tensor_type> type_of(const checkpoint& from, std::string_view name) {
  if (const auto* tensor = from.find(name)) return tensor->type;
  const auto fused = fused_expert_of(name);
  const auto* tensor = fused ? from.find(fused->name) : nullptr;
  return tensor ? std::optional(tensor->type) : std::nullopt;
}

} // namespace troupe::model
