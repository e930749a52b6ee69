// The OpenAI API over HTTP/1.1 (Boost.Beast). Start it before the model is loaded: /health and /ready say what is going
// on. To stop: drain() first, then drain the router, then stop(), which lets the last answers reach their clients.
//
//   socket ─▶ http_session (one strand each) ─▶ openai/request ─▶ completion_task ─▶ generation_service
//          ◀─ SSE or JSON ◀─ openai/completion ◀──── token events, posted into the strand
#pragma once

#include "actors/gateways/completion_service.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe {

/// How long a client may take; tests have less patience.
struct http_patience {
  std::chrono::milliseconds head = limits::http_head_timeout;
  std::chrono::milliseconds body_window = limits::http_body_window; ///< for each limits::http_body_window_bytes
  std::chrono::milliseconds body = limits::http_body_timeout;
};

struct http_gateway_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;         ///< 0 lets the system choose
  bool any_interface = false;        ///< allows wildcard addresses (0.0.0.0, ::); without it open() refuses them
  std::vector<std::string> api_keys; ///< empty: nobody is asked for a key
  int threads = 2;                   ///< for sockets; as many more parse and tokenize
  std::string version;               ///< shown by /version
  http_patience patience{};
  std::string server_info = "{}"; ///< a JSON object, shown by /server_info
  bool replaces_roles = true;     ///< a role that is lost comes back by itself: no reason for /health to say 503
  std::string job_address;        ///< of the job gateway, "ucx://...", shown by /status for `troupe submit`
};

class http_gateway {
 public:
  /// Listens from now on. Errors: bad_input when the address cannot be bound.
  static result<std::unique_ptr<http_gateway>> open(http_gateway_options options, completion_service& completions);
  /// stop()s.
  ~http_gateway();

  std::uint16_t port() const;

  /// New completions get 503 with Retry-After, /ready says 503; running ones go on.
  void drain();

  /// Stops listening, waits up to limits::http_linger for answers under way, closes all connections. Idempotent.
  void stop();

 private:
  struct state;
  explicit http_gateway(std::shared_ptr<state> s);
  std::shared_ptr<state> state_;
};

} // namespace troupe
