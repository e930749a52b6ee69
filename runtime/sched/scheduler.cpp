#include "runtime/sched/scheduler.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace troupe::sched {

namespace {

/// The order of everything: smaller priority first, then first come.
bool ranks_before(const std::unique_ptr<sequence>& a, const std::unique_ptr<sequence>& b) {
  return std::pair(a->priority, a->arrival) < std::pair(b->priority, b->arrival);
}

void insert_by_rank(std::vector<std::unique_ptr<sequence>>& queue, std::unique_ptr<sequence> seq) {
  const auto at = std::upper_bound(queue.begin(), queue.end(), seq, ranks_before);
  queue.insert(at, std::move(seq));
}

auto find(std::vector<std::unique_ptr<sequence>>& queue, request_id id) {
  return std::find_if(queue.begin(), queue.end(), [&](const auto& seq) { return seq->id == id; });
}

planned_group group_of(sequence& seq, std::int32_t row_count) {
  planned_group group;
  group.seq = &seq;
  group.first_position = seq.computed;
  const auto first = seq.tokens.begin() + seq.computed;
  group.tokens.assign(first, first + row_count);
  group.samples = seq.computed + row_count == seq.size();
  // Row p tells about the token at p + 1, so owed prompt positions [prompt_reported, ...) start at the row before.
  const auto chunk_end = seq.computed + row_count;
  const auto owed = seq.owes_prompt_logprobs() ? chunk_end - std::max(seq.computed, seq.prompt_reported - 1) : 0;
  group.logit_rows = std::max<std::int32_t>(owed, group.samples ? 1 : 0);
  return group;
}

} // namespace

scheduler::scheduler(scheduler_options options, kv::page_pool& pool) : options_(options), pool_(pool) {
  invariant(options_.max_num_seqs >= 1 && options_.max_num_batched_tokens >= 1 && options_.max_model_len >= 2,
            "scheduler_options: every limit must be positive");
  // A row for each running sequence, so that every one advances at every step.
  options_.max_num_seqs = std::min(options_.max_num_seqs, options_.max_num_batched_tokens);
}

scheduler::~scheduler() {
  for (auto* queue : {&waiting_, &running_})
    for (auto& seq : *queue) seq->pages.release(pool_);
}

result<void> scheduler::admit(generation_request request, time_point now) {
  const auto bad = [](std::string message) { return error{errc::bad_input, std::move(message)}; };
  const auto prompt_size = static_cast<std::int64_t>(request.prompt.size());
  const auto longest = prompt_size + std::max(1, request.sampling.max_tokens);
  if (prompt_size == 0) return bad("prompt: must have at least one token");
  if (longest > options_.max_model_len)
    return bad("prompt: " + std::to_string(prompt_size) + " tokens and max_tokens " +
               std::to_string(request.sampling.max_tokens) + " exceed max_model_len " +
               std::to_string(options_.max_model_len));
  const auto output_size = static_cast<std::int64_t>(request.output.size());
  if (output_size > 0 && output_size >= request.sampling.max_tokens)
    return bad("output: has max_tokens already, " + std::to_string(output_size));
  // The last token is never computed, so it needs no position.
  if (kv::pages_for(longest - 1) > pool_.page_count())
    return bad("prompt: needs " + std::to_string(kv::pages_for(longest - 1)) + " cache pages, there are " +
               std::to_string(pool_.page_count()));
  if (knows(request.id)) return bad("request " + std::to_string(request.id.value) + " is already admitted");
  if (waiting_.size() >= options_.waiting_requests_max)
    return error{errc::overloaded, std::to_string(waiting_.size()) + " requests wait already"};

  auto seq = std::make_unique<sequence>();
  seq->id = request.id;
  seq->sampling = std::move(request.sampling);
  seq->priority = request.priority;
  seq->arrival = arrivals_++;
  seq->arrived = now;
  seq->tokens = std::move(request.prompt);
  seq->tokens.insert(seq->tokens.end(), request.output.begin(), request.output.end());
  seq->prompt_size = static_cast<std::int32_t>(prompt_size);
  if (output_size > 0) seq->prompt_reported = seq->prompt_size; // reported before the first output
  insert_by_rank(waiting_, std::move(seq));
  return {};
}

bool scheduler::cancel(request_id id) {
  for (auto* queue : {&waiting_, &running_})
    if (const auto it = find(*queue, id); it != queue->end()) {
      (*it)->pages.release(pool_);
      queue->erase(it);
      return true;
    }
  return false;
}

step_plan scheduler::plan() {
  make_room_to_decode();
  let_waiting_join();
  step_plan plan;
  plan_decodes(plan);
  plan_prefills(plan);
  return plan;
}

void scheduler::make_room_to_decode() {
  // running_ only shrinks at its end: preempting the last one may be preempting the one that asks.
  for (std::size_t i = 0; i < running_.size(); ++i)
    while (i < running_.size() && !running_[i]->pages.cover(running_[i]->size(), pool_)) preempt_last();
}

void scheduler::preempt_last() {
  auto seq = std::move(running_.back());
  running_.pop_back();
  seq->pages.release(pool_);
  seq->computed = 0;
  ++preemptions_;
  insert_by_rank(waiting_, std::move(seq));
}

void scheduler::let_waiting_join() {
  while (!waiting_.empty() && running() < options_.max_num_seqs) {
    auto& seq = *waiting_.front();
    const auto used_after = pool_.used_pages() + kv::pages_for(seq.size());
    // Strictly first come first served: overtaking would starve long prompts.
    if (!running_.empty() && used_after > options_.join_usage_max * pool_.page_count()) return;
    if (!seq.pages.cover(seq.size(), pool_)) return;
    insert_by_rank(running_, std::move(waiting_.front()));
    waiting_.erase(waiting_.begin());
  }
}

bool scheduler::wants_draft(const sequence& seq) const {
  return options_.speculate && seq.draft >= 0 && seq.sampling.max_tokens - seq.output_size() >= 2;
}

void scheduler::plan_decodes(step_plan& plan) const {
  // Drafts come last in line for rows and pages: after every last token, and one row for each prefill.
  auto rows_for_drafts = options_.max_num_batched_tokens - running();
  for (const auto& seq : running_) {
    if (!seq->decoding()) continue;
    auto group = group_of(*seq, 1);
    if (wants_draft(*seq) && rows_for_drafts > 0 && seq->pages.cover(seq->size() + 1, pool_)) {
      group.tokens.push_back(seq->draft);
      group.has_draft = true;
      group.logit_rows = 2;
      --rows_for_drafts;
    }
    plan.row_count += static_cast<std::int32_t>(group.tokens.size());
    plan.groups.push_back(std::move(group));
  }
}

void scheduler::plan_prefills(step_plan& plan) const {
  auto prompt_logprob_rows = limits::prompt_logprob_rows_max;
  for (const auto& seq : running_) {
    if (seq->decoding()) continue;
    auto rows = std::min(seq->size() - seq->computed, options_.max_num_batched_tokens - plan.row_count);
    if (seq->owes_prompt_logprobs()) rows = std::min(rows, prompt_logprob_rows);
    if (rows <= 0) continue;
    auto group = group_of(*seq, rows);
    if (seq->owes_prompt_logprobs()) prompt_logprob_rows -= rows;
    plan.row_count += rows;
    plan.groups.push_back(std::move(group));
  }
}

void scheduler::commit(const planned_group& group, token_id draft) {
  auto& seq = *group.seq;
  // After sampling, rows of accepted tokens count and the new last token has none yet.
  seq.computed = group.samples ? seq.size() - 1 : group.first_position + static_cast<std::int32_t>(group.tokens.size());
  seq.draft = group.samples ? draft : -1;
  invariant(seq.computed < seq.size(), "scheduler: committed more rows than tokens");
}

std::vector<const sequence*> scheduler::sequences() const {
  std::vector<const sequence*> all;
  for (const auto* queue : {&running_, &waiting_})
    for (const auto& seq : *queue) all.push_back(seq.get());
  return all;
}

bool scheduler::knows(request_id id) const {
  const auto is_it = [&](const auto& seq) { return seq->id == id; };
  return std::any_of(waiting_.begin(), waiting_.end(), is_it) || std::any_of(running_.begin(), running_.end(), is_it);
}

} // namespace troupe::sched
