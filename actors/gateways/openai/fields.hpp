// Reads the fields of a client's JSON object with their bounds. The first fault is kept and later reads return nothing,
// so that a parser is a list of fields with one look at error() in the end.
#pragma once

#include "actors/gateways/openai/error.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::openai {

/// An absent field and an explicit null are the same: no value. Fields nobody asks for are ignored, as OpenAI does.
class fields {
 public:
  /// `prefix` goes before names in messages, e.g. "messages[2].". `object` must outlive the reader.
  explicit fields(const boost::json::object& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  /// The value itself, for fields with several forms; null if absent.
  const boost::json::value* find(std::string_view name) const;

  std::optional<std::int64_t> integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> text(std::string_view name);
  const boost::json::object* object(std::string_view name);
  const boost::json::array* array(std::string_view name);

  /// Says that a field is wrong; only the first counts.
  void blame(std::string_view name, std::string message, std::string code = {});

  bool failed() const { return error_.has_value(); }
  const api_error& error() const { return *error_; }

 private:
  const boost::json::object& object_;
  std::string prefix_;
  std::optional<api_error> error_;
};

/// A JSON document from a client: strict (runtime/model/strict_json.hpp), at most 1024 keys in an object, and the top
/// is an object.
reply<boost::json::object> parse_object(std::string_view body);

} // namespace troupe::openai
