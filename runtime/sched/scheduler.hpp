// Continuous batching: which rows of which sequences the next step computes. Requests join and leave at every step.
// Decisions depend only on the order of calls, never on time. Progress: the first sequence by (priority, arrival) may
// take the pages of all others and, admitted, fits alone; so every step computes something and nothing starves for
// ever.
#pragma once

#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"
#include "runtime/kv/page_pool.hpp"
#include "runtime/sched/sequence.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace troupe::sched {

struct scheduler_options {
  int max_num_seqs = limits::max_num_seqs_default; ///< running at once; never above max_num_batched_tokens
  int max_num_batched_tokens = limits::max_num_batched_tokens_default; ///< rows of one step
  int max_model_len = limits::max_model_len_default;                   ///< prompt and output of one request
  /// Above this share of pages in use no request joins: the rest is for growth. (How many pages there are is the
  /// business of --kv-cache-ratio.)
  double join_usage_max = 0.8;
  std::size_t waiting_requests_max = limits::waiting_requests_max;
  bool speculate = true; ///< run drafts beside the last token
};

/// Consecutive rows of one sequence: a prefill chunk, or its last token and perhaps a draft.
struct planned_group {
  sequence* seq = nullptr;         ///< valid until the sequence is finished or cancelled
  std::int32_t first_position = 0; ///< == seq->computed
  std::vector<token_id> tokens;    ///< one per row, the draft last
  bool has_draft = false;
  bool samples = false;        ///< the rows reach the last known token: a new one follows
  std::int32_t logit_rows = 0; ///< last so many rows: 1 or 2 that sample, more where prompt log probabilities are owed
};

struct step_plan {
  std::vector<planned_group> groups; ///< sequences that decode first, then prefill chunks; each by (priority, arrival)
  std::int32_t row_count = 0;
};

class scheduler {
 public:
  /// `pool` outlives the scheduler.
  scheduler(scheduler_options options, kv::page_pool& pool);
  ~scheduler();
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  /// Queues a request; one taken over goes on after its `output`. Errors: bad_input (empty, longer than max_model_len,
  /// more pages than there are, nothing left to generate, known id), overloaded (the queue is full).
  result<void> admit(generation_request request, time_point now);

  /// Forgets a request wherever it is and frees its pages at once; false if unknown.
  bool cancel(request_id id);

  /// The next step's rows. Moves waiting requests into the batch and takes pages, preempting the last sequence by
  /// (priority, arrival) when there are none. Planning again without commit() in between gives the same rows.
  step_plan plan();

  /// The group's rows are computed and its sequence goes on, with `draft` (or -1) guessed for the token after its last.
  /// Rows of rejected drafts are left in the pages: the next step overwrites them.
  void commit(const planned_group& group, token_id draft);
  /// The group's sequence has ended: frees its pages and forgets it.
  void finish(const planned_group& group) { cancel(group.seq->id); }

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  std::int32_t waiting() const { return static_cast<std::int32_t>(waiting_.size()); }
  std::int32_t running() const { return static_cast<std::int32_t>(running_.size()); }
  std::uint64_t preemptions() const { return preemptions_; }
  /// Every request that has not ended: running first, then waiting.
  std::vector<const sequence*> sequences() const;
  const scheduler_options& options() const { return options_; }

 private:
  using queue = std::vector<std::unique_ptr<sequence>>; // sorted by (priority, arrival)

  bool knows(request_id id) const;
  void make_room_to_decode();
  void preempt_last();
  void let_waiting_join();
  bool wants_draft(const sequence& seq) const;
  void plan_decodes(step_plan& plan) const;
  void plan_prefills(step_plan& plan) const;

  scheduler_options options_;
  kv::page_pool& pool_;
  queue waiting_;
  queue running_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t preemptions_ = 0;
};

} // namespace troupe::sched
