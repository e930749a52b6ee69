// Reading small JSON objects field by field, with errors that name file and field. Numbers may be int or float, as
// Hugging Face's own files vary.
#pragma once

#include "runtime/core/result.hpp"

#include <boost/json/object.hpp>

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace troupe::model {

/// Parses a JSON object. Errors: bad_input naming the file and the place of the first wrong byte.
result<boost::json::object> parse_json_object(std::string_view text, std::string_view file);

/// The fields of one object. The first failed read is kept and every later one returns its fallback, so that a parser
/// reads straight down and asks once at the end.
class json_fields {
 public:
  /// `object` and `file` must outlive this; `prefix` is prepended to field names in messages ("rope_scaling.").
  json_fields(const boost::json::object& object, std::string_view file, std::string prefix = "")
      : object_(object), file_(file), prefix_(std::move(prefix)) {}

  bool has(std::string_view name) const; ///< present and not null

  /// A whole number within [low, high]; required unless a fallback is given.
  int integer(std::string_view name, std::optional<int> fallback, int low, int high);
  /// A finite number within [low, high].
  double number(std::string_view name, std::optional<double> fallback, double low, double high);
  bool boolean(std::string_view name, bool fallback);
  std::string text(std::string_view name, std::string_view fallback);
  /// An integer or a list of integers within [0, high]; empty when absent.
  std::vector<int> integers(std::string_view name, int high);
  /// The object called `name`, or nullptr when absent or null.
  const boost::json::object* object(std::string_view name);

  /// Records `reason` against field `name`.
  void fail(errc code, std::string_view name, std::string_view reason);
  const std::optional<error>& failure() const { return failure_; }
  /// Takes over the first failure of a nested object.
  void adopt(const json_fields& nested);

 private:
  const boost::json::value* find(std::string_view name) const;

  const boost::json::object& object_;
  std::string_view file_;
  std::string prefix_;
  std::optional<error> failure_;
};

} // namespace troupe::model
