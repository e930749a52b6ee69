#include "runtime/model/duplicate_keys.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <cstdint>
#include <unordered_set>

namespace troupe::model {
namespace {

namespace json = boost::json;

// basic_parser's callbacks; returning false stops the parse.
struct key_collector {
  static constexpr std::size_t max_object_size = -1;
  static constexpr std::size_t max_array_size = -1;
  static constexpr std::size_t max_key_size = -1;
  static constexpr std::size_t max_string_size = -1;

  int depth = 0;
  std::string key;
  std::unordered_set<std::string> seen;
  std::optional<std::string> twice;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return ++depth, true; }
  bool on_object_end(std::size_t, json::error_code&) { return --depth, true; }
  bool on_array_begin(json::error_code&) { return ++depth, true; }
  bool on_array_end(std::size_t, json::error_code&) { return --depth, true; }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) { return key += part, true; }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    key += part;
    if (depth == 1 && !twice && !seen.insert(key).second) twice = key;
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return true; }
  bool on_double(double, json::string_view, json::error_code&) { return true; }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }
};

} // namespace

std::optional<std::string> first_duplicate_key(std::string_view text) {
  json::basic_parser<key_collector> parser{json::parse_options{}};
  json::error_code failed;
  parser.write_some(false, text.data(), text.size(), failed);
  return parser.handler().twice;
}

} // namespace troupe::model
