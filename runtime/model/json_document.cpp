#include "runtime/model/json_document.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/utf8.hpp"

#include <boost/json/parse.hpp>

#include <string>

namespace troupe::model {

result<boost::json::value> parse_json_document(std::string_view text, std::string_view file) {
  if (const auto at = find_invalid_utf8(text); at != std::string_view::npos)
    return file_error(file, "", "invalid UTF-8 at byte " + std::to_string(at));
  boost::json::parse_options options;
  options.max_depth = limits::json_depth_max;
  boost::system::error_code code;
  auto document = boost::json::parse({text.data(), text.size()}, code, {}, options);
  if (code) return file_error(file, "", "not JSON: " + code.message());
  return document;
}

} // namespace troupe::model
