#include "runtime/model/json_field.hpp"

#include "runtime/model/file_error.hpp"

#include <boost/json/serialize.hpp>

#include <sstream>

namespace troupe::model {
namespace {

/// A value as a message quotes it: the beginning, if it is long.
std::string shown(const boost::json::value& value) {
  constexpr std::size_t bytes_max = 40;
  if (value.is_null()) return "null";
  auto text = boost::json::serialize(value);
  return text.size() <= bytes_max ? text : text.substr(0, bytes_max) + "...";
}

} // namespace

json_field json_field::operator[](std::string_view name) const {
  static const boost::json::value absent;
  const auto* object = value_->if_object();
  const auto* member = object ? object->if_contains(name) : nullptr;
  return {member ? *member : absent, file_, path_ + (path_.empty() ? "" : ".") + std::string(name)};
}

json_field json_field::at(std::size_t index) const {
  return {value_->as_array()[index], file_, path_ + "[" + std::to_string(index) + "]"};
}

error json_field::fail(std::string_view reason, errc code) const { return file_error(file_, path_, reason, code); }

result<const boost::json::object*> json_field::object() const {
  if (const auto* object = value_->if_object()) return object;
  return fail("must be an object");
}

result<const boost::json::array*> json_field::array() const {
  if (const auto* array = value_->if_array()) return array;
  return fail("must be an array");
}

result<std::string_view> json_field::string() const {
  if (const auto* string = value_->if_string()) return std::string_view(string->data(), string->size());
  return fail("must be a string");
}

result<std::string_view> json_field::string_or(std::string_view otherwise) const {
  return is_null() ? result<std::string_view>(otherwise) : string();
}

result<bool> json_field::boolean_or(bool otherwise) const {
  if (is_null()) return otherwise;
  if (const auto* boolean = value_->if_bool()) return *boolean;
  return fail("must be true or false");
}

result<std::int64_t> json_field::integer(std::int64_t low, std::int64_t high) const {
  std::error_code code; // to_number refuses fractions and what does not fit
  const auto value = value_->to_number<std::int64_t>(code);
  if (!code && low <= value && value <= high) return value;
  return fail(shown(*value_) + " is not a whole number from " + std::to_string(low) + " to " + std::to_string(high));
}

result<double> json_field::number(double low, double high) const {
  std::error_code code;
  const auto value = value_->to_number<double>(code);
  if (!code && low <= value && value <= high) return value;
  std::ostringstream range;
  range << " is not a number from " << low << " to " << high;
  return fail(shown(*value_) + range.str());
}

} // namespace troupe::model
