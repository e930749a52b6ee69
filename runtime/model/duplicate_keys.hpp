// JSON parsers keep the last of two equal keys and say nothing; a safetensors header with two equal names is an attack.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe::model {

/// The first key that appears twice in the outermost object of `json`, which is valid JSON.
std::optional<std::string> first_duplicate_key(std::string_view json);

} // namespace troupe::model
