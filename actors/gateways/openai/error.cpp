#include "actors/gateways/openai/error.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

#include <boost/json/value.hpp>

#include <utility>

namespace troupe::openai {

namespace {

constexpr int retry_after_s = static_cast<int>(limits::retry_after_min.count());

boost::json::value text_or_null(const std::string& text) {
  return text.empty() ? boost::json::value(nullptr) : boost::json::value(text);
}

} // namespace

api_error bad_request(std::string param, std::string message, std::string code) {
  return {.status = 400, .message = std::move(message), .param = std::move(param), .code = std::move(code)};
}

api_error to_api_error(const error& e) {
  switch (e.code) {
  case errc::bad_input: return bad_request({}, e.message);
  case errc::not_found: return {.status = 404, .message = e.message, .code = "not_found"};
  case errc::overloaded:
    return {.status = 429,
            .message = e.message,
            .type = "rate_limit_error",
            .code = "overloaded",
            .retry_after_s = e.retry_after_s > 0 ? e.retry_after_s : retry_after_s};
  case errc::disconnected:
    return {.status = 503,
            .message = e.message,
            .type = "service_unavailable_error",
            .code = "not_ready",
            .retry_after_s = retry_after_s};
  case errc::unsupported: return {.status = 501, .message = e.message, .code = "unsupported"};
  case errc::cancelled: return {.status = 499, .message = "the request was cancelled", .code = "cancelled"};
  case errc::bug: break;
  }
  return {.status = 500, .message = "internal error", .type = "server_error", .code = "bug"};
}

boost::json::object to_json(const api_error& e) {
  return {
      {"error",
       {{"message", e.message}, {"type", e.type}, {"param", text_or_null(e.param)}, {"code", text_or_null(e.code)}}}};
}

void throw_exception_from_error(const api_error& e, const boost::source_location& where) {
  invariant_broken(e.message, where.file_name(), static_cast<int>(where.line()));
}

} // namespace troupe::openai
