// The seam between gateways (HTTP, actor RPC) and the router: tokens in, token events out. No CAF here, so that a
// gateway is tested against a fake.
#pragma once

#include "runtime/core/generation.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/step_histogram.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace troupe {

/// One role process or in-process role as `troupe status` and /health show it.
struct role_status {
  std::string role;   ///< "router", "kv_cache", "expert_shard", "supervisor"
  std::string name;   ///< "kv_cache-0"
  std::string device; ///< "cpu/amx_bf16 x2"
  std::string state;  ///< "starting", "ready", "draining", "lost"
  std::int64_t pid = 0;
  std::uint64_t steps = 0;      ///< progress counter: moves while there is work
  std::int64_t step_age_ms = 0; ///< since the counter moved while there was work; 0 when idle
  std::int32_t running = 0;     ///< requests (kv_cache) or dispatches (expert_shard) in work
  std::int32_t waiting = 0;
  double kv_usage = 0;               ///< pages in use / pages
  std::uint64_t drafts_proposed = 0; ///< tokens of the MTP module, and how many of them were right
  std::uint64_t drafts_accepted = 0;
  std::uint32_t restarts = 0;
  std::uint64_t preemptions = 0; ///< requests that gave their pages to others and were computed again
  std::int32_t pages = 0;        ///< of the latent cache, used or not
  step_histogram step_rows{};
};

struct cluster_status {
  bool ready = false; ///< every role of the recipe is ready and none drains
  std::vector<role_status> roles;
};

/// Called for every event of one request, in order, from any one thread at a time; must not block.
using token_sink = std::function<void(const token_event&)>;

class generation_service {
 public:
  virtual ~generation_service() = default;

  /// Admits or refuses at once. After success `sink` sees every event; the last has `finish != none`.
  /// Errors: bad_input (too long, empty), overloaded (queue full), disconnected (not ready or draining).
  virtual result<void> submit(generation_request request, token_sink sink) = 0;

  /// The client went away: frees the request within one step. Its sink is not called again after it returns.
  virtual void cancel(request_id id) = 0;

  virtual request_id next_id() = 0;
  virtual cluster_status status() = 0;
};

} // namespace troupe
