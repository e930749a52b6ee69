// Text in, text out over the router's tokens: what the HTTP gateway and the job gateway share. Owns the metrics and the
// request numbers; no sockets, no actors.
#pragma once

#include "actors/gateways/metrics.hpp"
#include "actors/gateways/text_side.hpp"
#include "actors/generation_service.hpp"

#include <atomic>
#include <cstdint>

namespace troupe {

/// Thread-safe. `generation` and `text` must outlive it, and it must outlive the gateways.
class completion_service {
 public:
  completion_service(generation_service& generation, const text_side& text)
      : generation_(generation), text_(text), metrics_(text.model_name) {}

  generation_service& generation() { return generation_; }
  const text_side& text() const { return text_; }
  gateway_metrics& metrics() { return metrics_; }

  /// Numbers requests from 0: with the server's seed this gives a request without one its own.
  std::uint64_t next_number() { return next_number_.fetch_add(1); }

 private:
  generation_service& generation_;
  const text_side& text_;
  gateway_metrics metrics_;
  std::atomic<std::uint64_t> next_number_{0};
};

} // namespace troupe
