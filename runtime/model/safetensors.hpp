// The safetensors format (model-spec.md 2.1): a JSON header that names tensors, then their bytes without gaps.
#pragma once

#include "kernels/tensor_type.hpp"
#include "runtime/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// One entry of a header, checked: its bytes lie inside the file and are as many as its shape and dtype need.
struct safetensors_entry {
  std::string name;
  std::string dtype;                        ///< as spelled in the file: "BF16", "F8_E4M3", "I64", ...
  std::optional<kernels::tensor_type> type; ///< nothing for types that no kernel computes with
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes; ///< into the file; not aligned
};

/// Checks a whole file image and lists its tensors. `file` is only for messages. Errors: bad_input naming file, tensor
/// and reason.
result<std::vector<safetensors_entry>> parse_safetensors(std::span<const std::byte> image, std::string_view file);

/// "[2048, 7168]"
std::string shape_text(std::span<const std::int64_t> shape);

} // namespace troupe::model
