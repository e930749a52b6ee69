// The allow-list of paths. What is not here is 404; who may use what is decided here too, before any body is read
// (operations.md P2).
#pragma once

#include "actors/gateways/openai/error.hpp"

#include <boost/beast/http/verb.hpp>

#include <string_view>

namespace troupe {

enum class route {
  chat_completions,
  completions,
  tokenize,
  detokenize,
  models,
  one_model,
  health,
  ready,
  ping,
  version,
  metrics,
  status,
  load,
  server_info
};

struct http_route {
  route where;
  boost::beast::http::verb method;
  std::string_view path; ///< `one_model` takes everything below it
  bool needs_key = true; ///< false for probes: they carry no keys
};

/// Finds the route of a request target; the query is not looked at. Errors: 404, 405.
openai::reply<const http_route*> find_route(boost::beast::http::verb method, std::string_view target);

} // namespace troupe
