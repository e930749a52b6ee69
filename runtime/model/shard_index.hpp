// model.safetensors.index.json: which shard holds which tensor (model-spec.md 2.2). File names in it are not trusted.
#pragma once

#include "runtime/core/result.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// Shard files by name, each with the tensors that the index places there.
using shard_index = std::map<std::string, std::vector<std::string>>;

/// Parses the index. A shard must be a plain file name: nothing outside the folder can be named.
/// Errors: bad_input naming file, tensor and reason.
result<shard_index> parse_shard_index(std::string_view json, std::string_view file);

} // namespace troupe::model
