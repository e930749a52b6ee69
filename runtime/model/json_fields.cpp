#include "runtime/model/json_fields.hpp"

#include "runtime/core/limits.hpp"

#include <boost/json/parse.hpp>

#include <cmath>

namespace troupe::model {
namespace json = boost::json;

result<json::object> parse_json_object(std::string_view text, std::string_view file) {
  json::parse_options options;
  options.max_depth = limits::json_depth_max;
  json::error_code failed;
  json::value value = json::parse({text.data(), text.size()}, failed, {}, options);
  if (failed) return error{errc::bad_input, std::string(file) + ": not JSON: " + failed.message()};
  if (!value.is_object()) return error{errc::bad_input, std::string(file) + ": must be a JSON object"};
  return std::move(value.get_object());
}

const json::value* json_fields::find(std::string_view name) const {
  const auto* value = object_.if_contains({name.data(), name.size()});
  return value && !value->is_null() ? value : nullptr;
}

bool json_fields::has(std::string_view name) const { return find(name) != nullptr; }

void json_fields::fail(errc code, std::string_view name, std::string_view reason) {
  if (failure_) return;
  failure_ = error{code, std::string(file_) + ": " + prefix_ + std::string(name) + ": " + std::string(reason)};
}

void json_fields::adopt(const json_fields& nested) {
  if (!failure_) failure_ = nested.failure_;
}

double json_fields::number(std::string_view name, std::optional<double> fallback, double low, double high) {
  const auto* value = find(name);
  if (!value) {
    if (!fallback) fail(errc::bad_input, name, "is missing");
    return fallback.value_or(low);
  }
  json::error_code failed;
  const double found = value->is_number() ? value->to_number<double>(failed) : std::nan("");
  if (failed || !(found >= low && found <= high)) {
    fail(errc::bad_input, name, "must be a number from " + std::to_string(low) + " to " + std::to_string(high));
    return low;
  }
  return found;
}

int json_fields::integer(std::string_view name, std::optional<int> fallback, int low, int high) {
  if (!has(name) && fallback) return *fallback;
  const double found = number(name, std::nullopt, low, high);
  if (found != std::floor(found)) fail(errc::bad_input, name, "must be a whole number");
  return static_cast<int>(found);
}

bool json_fields::boolean(std::string_view name, bool fallback) {
  const auto* value = find(name);
  if (!value) return fallback;
  if (!value->is_bool()) return fail(errc::bad_input, name, "must be true or false"), fallback;
  return value->get_bool();
}

std::string json_fields::text(std::string_view name, std::string_view fallback) {
  const auto* value = find(name);
  if (!value) return std::string(fallback);
  if (!value->is_string()) return fail(errc::bad_input, name, "must be a string"), std::string(fallback);
  return std::string(value->get_string());
}

std::vector<int> json_fields::integers(std::string_view name, int high) {
  const auto* value = find(name);
  if (!value) return {};
  std::vector<int> found;
  const auto take = [&](const json::value& item) {
    if (item.is_int64() && item.get_int64() >= 0 && item.get_int64() <= high)
      found.push_back(static_cast<int>(item.get_int64()));
    else
      fail(errc::bad_input, name, "must hold whole numbers from 0 to " + std::to_string(high));
  };
  if (value->is_array())
    for (const auto& item : value->get_array()) take(item);
  else
    take(*value);
  return found;
}

const json::object* json_fields::object(std::string_view name) {
  const auto* value = find(name);
  if (value && !value->is_object()) fail(errc::bad_input, name, "must be an object");
  return value && value->is_object() ? &value->get_object() : nullptr;
}

} // namespace troupe::model
