#include "actors/gateways/openai/fields.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/strict_json.hpp"

#include <cmath>
#include <utility>

namespace troupe::openai {

namespace {

std::string range(double min, double max) {
  const auto text = [](double x) {
    auto digits = std::to_string(x);
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.ends_with('.')) digits.pop_back();
    return digits;
  };
  return "must be in [" + text(min) + ", " + text(max) + "]";
}

std::string range(std::int64_t min, std::int64_t max) {
  return "must be in [" + std::to_string(min) + ", " + std::to_string(max) + "]";
}

/// Whole numbers in any spelling: 5, 5.0, 5e0.
std::optional<std::int64_t> whole(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (!value.is_double()) return std::nullopt; // uint64 is used by JSON only beyond int64
  const double x = value.get_double();
  if (!(std::abs(x) < 0x1p53) || std::trunc(x) != x) return std::nullopt;
  return static_cast<std::int64_t>(x);
}

} // namespace

const boost::json::value* fields::find(std::string_view name) const {
  const auto* value = object_.if_contains(name);
  return failed() || value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<std::int64_t> fields::integer(std::string_view name, std::int64_t min, std::int64_t max) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  const auto x = whole(*value);
  if (x && *x >= min && *x <= max) return x;
  blame(name, x || value->is_number() ? range(min, max) : "must be an integer");
  return std::nullopt;
}

std::optional<double> fields::number(std::string_view name, double min, double max) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code failed;
  const auto x = value->to_number<double>(failed);
  if (!failed && x >= min && x <= max) return x; // NaN and infinities fail the comparison
  blame(name, failed ? "must be a number" : range(min, max));
  return std::nullopt;
}

std::optional<bool> fields::boolean(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (const auto* x = value->if_bool()) return *x;
  blame(name, "must be true or false");
  return std::nullopt;
}

std::optional<std::string> fields::text(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (const auto* x = value->if_string()) return std::string(x->begin(), x->end());
  blame(name, "must be a string");
  return std::nullopt;
}

const boost::json::object* fields::object(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr || value->is_object()) return value ? value->if_object() : nullptr;
  blame(name, "must be an object");
  return nullptr;
}

const boost::json::array* fields::array(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr || value->is_array()) return value ? value->if_array() : nullptr;
  blame(name, "must be an array");
  return nullptr;
}

void fields::blame(std::string_view name, std::string message, std::string code) {
  if (failed()) return;
  auto param = prefix_ + std::string(name);
  error_ = bad_request(param, param + ": " + std::move(message), std::move(code));
}

reply<boost::json::object> parse_object(std::string_view body) {
  auto value = model::parse_strict_json(body, limits::http_json_keys_max);
  if (!value) return bad_request({}, "the body is not valid JSON: " + value.error().message, "invalid_json");
  if (!value->is_object()) return bad_request({}, "the body must be a JSON object", "invalid_json");
  return std::move(value->get_object());
}

} // namespace troupe::openai
