// A small blocking HTTP client for the verbs (Boost.Beast): one connection a call, plain http only.
#pragma once

#include "runtime/core/result.hpp"

#include <boost/json/value.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace troupe::launch {

class http_client {
 public:
  /// `url` is "http://host:port"; `api_key` goes into every call unless empty. Errors: bad_input.
  static result<http_client> open(std::string_view url, std::string api_key = {});

  /// The JSON body of a 2xx answer. Errors: disconnected (nobody listens), or the server's own message.
  result<boost::json::value> get(const std::string& path) const;
  result<boost::json::value> post(const std::string& path, const boost::json::value& body) const;

  /// Posts with server-sent events as answer: `on_event` gets the text after "data: " of every event until it returns
  /// false, the server says [DONE], or a signal interrupts the thread (errc::cancelled).
  result<void> stream(const std::string& path, const boost::json::value& body,
                      const std::function<bool(std::string_view)>& on_event) const;

 private:
  class call;
  http_client() = default;
  result<boost::json::value> exchange(const std::string& path, const boost::json::value* body) const;

  std::string host_, port_, api_key_;
};

} // namespace troupe::launch
