#include "runtime/model/strict_json.hpp"

#include "runtime/core/limits.hpp"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>

#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace troupe::model {
namespace {

namespace json = boost::json;
using json::error_code;
using json::string_view;

constexpr std::size_t quoted_key_bytes_max = 64;

/// The events of json::basic_parser, passed on to a value_stack. A callback that returns false ends the parse.
class strict_events {
 public:
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  explicit strict_events(std::size_t keys_max) : keys_max_(keys_max) {}

  bool on_document_begin(error_code&) {
    values.reset();
    return true;
  }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t count, error_code&) {
    keys_.pop_back();
    values.push_object(count);
    return true;
  }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t count, error_code&) {
    values.push_array(count);
    return true;
  }

  bool on_key_part(string_view part, std::size_t, error_code&) {
    key_ += part;
    values.push_chars(part);
    return true;
  }
  bool on_key(string_view part, std::size_t, error_code& code) {
    const auto key = std::exchange(key_, {}).append(part);
    if (!keys_.back().insert(key).second)
      return refuse((key.size() <= quoted_key_bytes_max ? "key \"" + key + "\"" : "a key") + " appears twice", code);
    if (keys_.back().size() > keys_max_)
      return refuse("an object has more than " + std::to_string(keys_max_) + " keys", code);
    values.push_key(part);
    return true;
  }

  bool on_string_part(string_view part, std::size_t, error_code&) {
    values.push_chars(part);
    return true;
  }
  bool on_string(string_view part, std::size_t, error_code&) {
    values.push_string(part);
    return true;
  }

  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t x, string_view, error_code&) {
    values.push_int64(x);
    return true;
  }
  bool on_uint64(std::uint64_t x, string_view, error_code&) {
    values.push_uint64(x);
    return true;
  }
  bool on_double(double x, string_view, error_code& code) {
    if (!std::isfinite(x)) return refuse("a number is out of range", code);
    values.push_double(x);
    return true;
  }
  bool on_bool(bool x, error_code&) {
    values.push_bool(x);
    return true;
  }
  bool on_null(error_code&) {
    values.push_null();
    return true;
  }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

  json::value_stack values;
  std::string reason; ///< why the parse was ended, if it was

 private:
  bool refuse(std::string why, error_code& code) {
    reason = std::move(why);
    code = json::error::syntax;
    return false;
  }

  std::size_t keys_max_;
  std::string key_;
  std::vector<std::unordered_set<std::string>> keys_; // of each open object; a new set each, so that clearing is cheap
};

} // namespace

result<json::value> parse_strict_json(std::string_view text, std::size_t keys_max) {
  json::parse_options options;
  options.max_depth = limits::json_depth_max;
  json::basic_parser<strict_events> parser{options, keys_max};
  error_code code;
  const auto read = parser.write_some(false, text.data(), text.size(), code);
  auto& events = parser.handler();
  if (!events.reason.empty()) return error{errc::bad_input, events.reason};
  if (!code && read < text.size()) code = json::error::extra_data;
  if (code) return error{errc::bad_input, code.message()};
  return events.values.release();
}

} // namespace troupe::model
