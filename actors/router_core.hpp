// The router without its actor: admission, the journal of every request, and which kv_cache serves it.
// Invariant: a client sees each output index once, in order, whatever happens to the kv_cache in between; the journal
// holds what a successor needs to go on (prompt, parameters, output so far).
//
//   submit ─▶ waiting ──assign──▶ running ──last event──▶ gone
//                ◀── kv_cache lost ──┘
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"
#include "runtime/policy/admission.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace troupe {

struct router_options {
  std::int32_t max_model_len = limits::max_model_len_default;
  std::int32_t vocab_size = 0;
  std::int32_t max_num_seqs = limits::max_num_seqs_default;        ///< what a kv_cache runs at once ...
  std::size_t waiting_requests_max = limits::waiting_requests_max; ///< ... and how many may be open beyond that
  std::chrono::milliseconds drain_timeout = limits::drain_timeout; ///< how long a drain waits for running requests
};

class router_core {
 public:
  struct assignment {
    process_id kv_cache;
    generation_request request;
  };

  explicit router_core(router_options options) : options_(options), waiting_room_(options.waiting_requests_max) {}

  /// Errors: bad_input (empty, too long, a token outside the vocabulary, parameters, known id), overloaded,
  /// disconnected (draining, or no kv_cache has been ready yet).
  result<void> submit(generation_request request, time_point now);

  /// Gives every waiting request to the kv_cache with the fewest; empty while there is none.
  std::vector<assignment> assign();

  /// Writes the event into the journal. False if it is stale or known: not to be passed on.
  bool accept(process_id from, const token_event& event, time_point now);

  /// Forgets the request; returns the kv_cache that has to be told.
  std::optional<process_id> cancel(request_id id, time_point now);

  /// These serve now. Requests of all others wait again.
  void set_kv_caches(std::span<const process_id> serving, time_point now);

  /// Ends requests that have waited for a kv_cache longer than limits::dispatch_timeout: their last events. Call it at
  /// every heartbeat.
  std::vector<token_event> expire(time_point now);
  /// Ends every request, at the end of a drain.
  std::vector<token_event> abandon();

  /// Nothing is admitted any more. Returns how long what runs may take: then abandon() it.
  std::chrono::milliseconds drain() {
    draining_ = true;
    return options_.drain_timeout;
  }
  bool draining() const { return draining_; }
  std::int32_t running() const { return static_cast<std::int32_t>(journal_.size()) - waiting(); }
  std::int32_t waiting() const;
  bool idle() const { return journal_.empty(); }
  /// Progress counter: events passed on, and heartbeats.
  std::uint64_t steps() const { return steps_; }

 private:
  struct entry {
    generation_request request; ///< `output` grows with every event
    std::int32_t next_index = 0;
    std::optional<process_id> kv_cache;
    time_point waiting_since;
  };

  result<void> check(const generation_request& request) const;
  std::size_t beyond_capacity() const;
  token_event end(const entry& e, finish_reason why) const;

  router_options options_;
  policy::admission waiting_room_;
  std::map<request_id, entry> journal_;          // ascending ids: first come, first assigned
  std::map<process_id, std::int32_t> kv_caches_; // serving, and how many requests each has
  bool was_ready_ = false;
  bool draining_ = false;
  std::uint64_t steps_ = 0;
};

} // namespace troupe
