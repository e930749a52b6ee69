#include "runtime/model/json_document.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/strict_json.hpp"
#include "runtime/model/utf8.hpp"

#include <string>

namespace troupe::model {

result<boost::json::value> parse_json_document(std::string_view text, std::string_view file) {
  if (const auto at = find_invalid_utf8(text); at != std::string_view::npos)
    return file_error(file, "", "invalid UTF-8 at byte " + std::to_string(at));
  auto document = parse_strict_json(text, limits::json_file_keys_max);
  if (!document) return file_error(file, "", "not JSON: " + document.error().message);
  return document;
}

} // namespace troupe::model
