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
  int answers = 0; ///< completions under way
};

http_reply answer_simple(route where, std::string_view target, std::string_view body, const handler_context& context);

/// Why somebody should end this process: a role stands still with work behind it, or is gone for good. Empty while it
/// serves, loads, drains or replaces a role: none of these gets better by a restart (operations.md 1.10).
std::string reason_to_restart(const cluster_status& cluster, bool replaces_roles);

} // namespace troupe
