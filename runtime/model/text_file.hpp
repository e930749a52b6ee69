// The small files of a checkpoint, read whole.
#pragma once

#include "runtime/core/result.hpp"

#include <filesystem>
#include <string>

namespace troupe::model {

/// The bytes of `path`. Errors: not_found, or bad_input for a file that cannot be read or is larger than
/// limits::json_file_bytes_max.
result<std::string> read_text_file(const std::filesystem::path& path);

} // namespace troupe::model
