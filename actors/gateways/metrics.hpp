// The numbers of /metrics (prometheus-cpp). Names are vLLM's with the prefix `troupe_`, so that dashboards port; labels
// stay few: model_name, a finish reason, a role (operations.md: bound cardinality).
#pragma once

#include "actors/generation_service.hpp"
#include "runtime/core/clock.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace troupe {

/// What one finished request has to say. Times in seconds.
struct request_summary {
  std::string finished_reason; ///< "stop", "length", "abort", "error"
  std::int64_t prompt_tokens = 0;
  std::int64_t generation_tokens = 0;
  double e2e_s = 0;
  double time_to_first_token_s = 0; ///< from its arrival; 0 when there was none
  double queue_s = 0;               ///< of that, until the step that began it
  double decode_s = 0;              ///< from its first token to its last
};

/// Thread-safe.
class gateway_metrics {
 public:
  explicit gateway_metrics(const std::string& model_name);
  ~gateway_metrics();

  void on_first_token(double since_arrival_s);
  void on_next_token(double since_last_s);
  void on_finished(const request_summary& summary);
  /// A completion was refused; `code` is api_error's.
  void on_rejected(const std::string& code);

  /// Prometheus text format. `cluster` gives what the roles count: requests, cache usage, steps, restarts.
  std::string text(const cluster_status& cluster);

 private:
  struct families;
  std::unique_ptr<families> families_;
};

} // namespace troupe
