#include "runtime/model/safetensors_header.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/utf8.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <unordered_set>
#include <utility>

namespace troupe::model {
namespace {

namespace json = boost::json;
using json::error_code;

/// The events of json::basic_parser. A callback that returns false ends the parse.
class header_events {
 public:
  static constexpr std::size_t max_object_size = limits::tensors_max + 1; // __metadata__ is no tensor
  static constexpr std::size_t max_array_size = limits::tensor_rank_max;
  static constexpr std::size_t max_key_size = limits::tensor_name_bytes_max;
  static constexpr std::size_t max_string_size = limits::safetensors_header_bytes_max;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& code) {
    switch (place_) {
    case place::document: return enter(place::names);
    case place::names: return enter(line_.name == "__metadata__" ? place::metadata : place::fields);
    default: return refuse("has an object where the format has none", code);
    }
  }

  bool on_object_end(std::size_t, error_code& code) {
    if (place_ == place::fields) {
      if (fields_.size() != 3) return refuse("must have dtype, shape and data_offsets", code);
      if (line_.data_offsets.size() != 2) return refuse("data_offsets must be [begin, end]", code);
      lines.push_back(std::move(line_));
    }
    line_.name.clear();
    return enter(place_ == place::names ? place::document : place::names);
  }

  bool on_key_part(json::string_view part, std::size_t, error_code&) {
    key_ += part;
    return true;
  }
  bool on_key(json::string_view part, std::size_t, error_code& code) {
    const auto key = std::exchange(key_, {}).append(part);
    if (place_ == place::names) {
      line_ = {key, {}, {}, {}};
      fields_.clear();
      return names_.insert(key).second || refuse("appears twice in the header", code);
    }
    if (place_ == place::metadata) return true;
    if (!fields_.insert(key).second) return refuse(key + " appears twice", code);
    if (key == "dtype") return enter(place::dtype);
    if (key == "shape") return enter(place::shape);
    if (key == "data_offsets") return enter(place::offsets);
    return refuse("has an unknown field " + key, code);
  }

  bool on_string_part(json::string_view part, std::size_t, error_code&) {
    line_.dtype += part;
    return true;
  }
  bool on_string(json::string_view part, std::size_t, error_code& code) {
    if (place_ == place::metadata) return true;
    if (place_ != place::dtype) return refuse("has a string where the format has none", code);
    line_.dtype += part;
    return enter(place::fields);
  }

  bool on_array_begin(error_code& code) {
    if (std::exchange(in_list_, true) || (place_ != place::shape && place_ != place::offsets))
      return refuse("has an array where the format has none", code);
    return true;
  }
  bool on_array_end(std::size_t, error_code&) {
    in_list_ = false;
    return enter(place::fields);
  }

  bool on_number_part(json::string_view, error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view text, error_code& code) {
    if (!in_list_ || text.front() == '-') return refuse_number(code);
    auto& list = place_ == place::shape ? line_.shape : line_.data_offsets;
    list.push_back(value);
    return true;
  }
  bool on_uint64(std::uint64_t, json::string_view, error_code& code) { return refuse_number(code); }
  bool on_double(double, json::string_view, error_code& code) { return refuse_number(code); }
  bool on_bool(bool, error_code& code) { return refuse("has a boolean where the format has none", code); }
  bool on_null(error_code& code) { return refuse("has a null where the format has none", code); }
  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }

  /// The tensor that a message is about.
  std::string_view subject() const { return line_.name.empty() ? "header" : std::string_view(line_.name); }

  std::vector<safetensors_line> lines;
  std::string reason; ///< why the parse was ended, if it was

 private:
  enum class place { document, names, metadata, fields, dtype, shape, offsets };

  bool enter(place next) {
    place_ = next;
    return true;
  }
  bool refuse(std::string why, error_code& code) {
    reason = std::move(why);
    code = json::error::syntax;
    return false;
  }
  bool refuse_number(error_code& code) {
    return refuse("shape and data_offsets must hold whole numbers from 0 to 2^63 - 1", code);
  }

  place place_ = place::document;
  bool in_list_ = false;
  std::string key_;
  safetensors_line line_;
  std::unordered_set<std::string> names_, fields_;
};

} // namespace

result<std::vector<safetensors_line>> parse_safetensors_header(std::string_view header, std::string_view file) {
  if (const auto at = find_invalid_utf8(header); at != header.npos)
    return file_error(file, "header", "invalid UTF-8 at byte " + std::to_string(at));
  const auto end = header.find_last_not_of(' ') + 1; // padding
  if (end == 0 || header.front() != '{' || header[end - 1] != '}')
    return file_error(file, "header", "must be a JSON object, padded with spaces only");
  json::basic_parser<header_events> parser{json::parse_options{}};
  error_code code;
  const auto read = parser.write_some(false, header.data(), end, code);
  auto& events = parser.handler();
  if (!events.reason.empty()) return file_error(file, events.subject(), events.reason);
  if (code) return file_error(file, events.subject(), "not JSON: " + code.message());
  if (read != end) return file_error(file, "header", "text after the JSON object");
  return std::move(events.lines);
}

} // namespace troupe::model
