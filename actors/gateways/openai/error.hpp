// Refusals as OpenAI clients see them: {"error":{"message","type","param","code"}} with an HTTP status.
#pragma once

#include "runtime/core/errc.hpp"

#include <boost/assert/source_location.hpp>
#include <boost/json/object.hpp>
#include <boost/system/result.hpp>

#include <string>

namespace troupe::openai {

struct api_error {
  int status = 400;
  std::string message{}; ///< one line for a person; never an exception's text, an address or a path (operations.md P9)
  std::string type = "invalid_request_error";
  std::string param{};   ///< the field to blame, or empty
  std::string code{};    ///< for programs, or empty
  int retry_after_s = 0; ///< seconds for the Retry-After header; 0 means none
};

/// A value or a refusal. TROUPE_TRY and TROUPE_ASSIGN work on it.
template <class T>
using reply = boost::system::result<T, api_error>;

/// 400 that blames `param`.
api_error bad_request(std::string param, std::string message, std::string code = {});
/// The refusal for what a lower room reports. Texts of `bug` stay inside.
api_error to_api_error(const error& e);

/// The whole body, {"error":{...}}.
boost::json::object to_json(const api_error& e);

/// Makes reply::value() compile; reading the value of a refusal is a broken invariant.
[[noreturn]] void throw_exception_from_error(const api_error& e, const boost::source_location& where);

} // namespace troupe::openai
