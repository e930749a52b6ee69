// Reads the JSON header of a safetensors file by its own grammar: nothing but what the format allows gets through.
// A document tree would not do, since it keeps the last of two tensors with one name and says nothing.
#pragma once

#include "runtime/core/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// One tensor as the header spells it. Nothing is known yet about the bytes it claims.
struct safetensors_line {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;        ///< none negative
  std::vector<std::int64_t> data_offsets; ///< two, none negative
};

/// Lists the tensors of `header` in the order of the file. Errors: bad_input naming file, tensor and reason.
result<std::vector<safetensors_line>> parse_safetensors_header(std::string_view header, std::string_view file);

} // namespace troupe::model
