// Every answer that is not a completion: models, tokens, health, metrics, status. May block for a moment (the cluster's
// status comes from another actor), so it runs on a worker thread.
#pragma once

#include "actors/gateways/completion_service.hpp"
#include "actors/gateways/http_gateway.hpp"
#include "actors/gateways/http_routes.hpp"

#include <string>
#include <string_view>

namespace troupe {

struct http_reply {
  int status = 200;
  std::string body{};
  std::string content_type = "application/json";
  int retry_after_s = 0; ///< 0: no such header
};

http_reply to_reply(const openai::api_error& e);

/// What a handler may know beside the request.
struct handler_context {
  completion_service& completions;
  const http_gateway_options& options;
  std::int64_t started_at = 0; ///< seconds since 1970
  bool draining = false;
};

http_reply answer_simple(route where, std::string_view target, std::string_view body, const handler_context& context);

/// The cluster makes progress: every role is there, and no step counter stands still with work behind it.
bool is_healthy(const cluster_status& cluster);

} // namespace troupe
