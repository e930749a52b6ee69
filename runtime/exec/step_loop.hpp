// The heart of a kv_cache without its actor: requests in, steps, token events out. One thread owns it.
// Invariant: a step either happens whole (its events are returned) or not at all (its error is returned; step again).
//
// Speculation needs no rejection sampler: a draft is one-hot, so the target is sampled at every row with that row's own
// (seed, position) as if alone, and the draft is accepted while sampled == draft. Accepting has probability p(draft), a
// rejection yields exactly the token that would have come anyway: bit-identical to speculation off (and thereby
// distribution-preserving, which model-spec.md 10.2 step 4 only achieves in distribution).
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/step_histogram.hpp"
#include "runtime/exec/engine.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/exec/sampler.hpp"
#include "runtime/kv/page_pool.hpp"
#include "runtime/sched/scheduler.hpp"

#include <cstdint>
#include <vector>

namespace troupe::exec {

struct step_loop_options {
  sched::scheduler_options scheduling;
  sampler_options sampling;
};

/// Counters since the start and gauges as of the last call; what /metrics and `troupe status` show.
struct step_stats {
  std::uint64_t steps = 0; ///< the progress counter
  time_point stepped_at;   ///< `now` of the last step that happened
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t pages = 0;
  std::int32_t pages_used = 0;
  std::uint64_t prompt_tokens = 0;     ///< of requests whose prompt is computed; computing it again counts nothing
  std::uint64_t generation_tokens = 0; ///< tokens emitted
  std::uint64_t preemptions = 0;
  step_histogram step_rows;
  std::uint64_t drafts_proposed = 0;
  std::uint64_t drafts_accepted = 0;
  std::uint64_t drafts_failed = 0;     ///< steps whose MTP pass failed; costs speed only
  std::uint64_t requests_finished = 0; ///< stop or length
  std::uint64_t requests_failed = 0;
  std::uint64_t requests_cancelled = 0;
};

class step_loop {
 public:
  /// `device` and `experts` outlive the loop. Drafts are used if both options and the engine allow them.
  step_loop(engine& device, expert_client& experts, step_loop_options options);

  /// Errors: bad_input (parameters, length, a token outside the vocabulary, known id), overloaded (queue full).
  result<void> admit(generation_request request, time_point now);

  /// Frees the request at once; no event follows. False if unknown.
  bool cancel(request_id id);

  bool has_work() const { return scheduler_.has_work(); }

  /// One step of all running sequences: events in the order of the batch, each request's in the order of its indices.
  /// A stop token comes with its event. Errors: disconnected (an expert_shard is away: nothing is lost, call again).
  /// Any other engine error ends the sequences of the step with finish_reason::failed.
  result<std::vector<token_event>> step(time_point now);

  /// Ends every request with finish_reason::failed, e.g. when its experts do not come back.
  std::vector<token_event> abandon();

  const step_stats& stats() const { return stats_; }

 private:
  result<void> forward(const sched::step_plan& plan);
  /// One result for every row that samples: none, one or, with a draft, two of a group.
  using choices = std::span<result<sampled_token>>;
  std::vector<result<sampled_token>> choose(const sched::step_plan& plan);
  finish_reason answer(const sched::planned_group& group, std::int32_t first_logit, choices chosen,
                       std::vector<token_event>& events);
  result<void> report_prompt(const sched::planned_group& group, std::int32_t first_logit,
                             std::vector<token_event>& events);
  finish_reason extend(const sched::planned_group& group, choices chosen, std::vector<token_event>& events);
  std::vector<token_id> draft(const sched::step_plan& plan, const std::vector<finish_reason>& ends);
  finish_reason fail(const sched::sequence& seq, std::vector<token_event>& events);
  void refresh_gauges();

  engine& engine_;
  expert_client& experts_;
  kv::page_pool pool_;
  sched::scheduler scheduler_;
  sampler sampler_;
  step_stats stats_;
};

} // namespace troupe::exec
