// JSON files of a checkpoint, read as strictly as what clients send (strict_json.hpp).
#pragma once

#include "runtime/core/result.hpp"

#include <boost/json/value.hpp>

#include <string_view>

namespace troupe::model {

/// Parses `text`, the content of `file`. Errors: bad_input, "file: reason".
result<boost::json::value> parse_json_document(std::string_view text, std::string_view file);

} // namespace troupe::model
