// A JSON value together with the way to it, so that every error can name its place in the file.
#pragma once

#include "runtime/core/result.hpp"

#include <boost/json/value.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::model {

/// Refers into a parsed document, which must outlive it.
class json_field {
 public:
  json_field(const boost::json::value& value, std::string_view file) : value_(&value), file_(file) {}

  /// The member `name`; null when there is none or this is no object.
  json_field operator[](std::string_view name) const;
  /// Element `index` of an array that has it.
  json_field at(std::size_t index) const;

  bool is_null() const { return value_->is_null(); }
  /// "file: path: reason".
  error fail(std::string_view reason, errc code = errc::bad_input) const;

  result<const boost::json::object*> object() const;
  result<const boost::json::array*> array() const;
  /// The text lives as long as the document.
  result<std::string_view> string() const;
  result<std::string_view> string_or(std::string_view otherwise) const;
  result<bool> boolean_or(bool otherwise) const;
  /// A whole number from `low` to `high`; 40.0 counts as 40.
  result<std::int64_t> integer(std::int64_t low, std::int64_t high) const;
  /// A number from `low` to `high`, written as integer or float.
  result<double> number(double low, double high) const;

 private:
  json_field(const boost::json::value& value, std::string_view file, std::string path)
      : value_(&value), file_(file), path_(std::move(path)) {}

  const boost::json::value* value_;
  std::string_view file_;
  std::string path_;
};

} // namespace troupe::model
