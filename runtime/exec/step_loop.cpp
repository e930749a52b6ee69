#include "runtime/exec/step_loop.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace troupe::exec {

namespace {

sched::scheduler_options with_engine(sched::scheduler_options options, const engine_info& info) {
  options.speculate = options.speculate && info.can_draft;
  return options;
}

result<void> check_tokens(const char* field, std::span<const token_id> tokens, std::int32_t vocab_size) {
  for (const auto token : tokens)
    if (token < 0 || token >= vocab_size)
      return error{errc::bad_input, std::string(field) + ": token " + std::to_string(token) +
                                        " is outside the vocabulary of " + std::to_string(vocab_size)};
  return {};
}

std::int32_t queue_ms(const sched::sequence& seq) {
  const auto waited = seq.started.value_or(seq.arrived) - seq.arrived;
  return static_cast<std::int32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(waited).count());
}

token_event make_event(const sched::sequence& seq, std::int32_t position, sampled_token chosen, finish_reason finish) {
  return {.id = seq.id,
          .index = position - seq.prompt_size,
          .token = chosen.token,
          .logprob = chosen.logprob,
          .top = std::move(chosen.top),
          .finish = finish,
          .queue_ms = position == seq.prompt_size ? queue_ms(seq) : 0};
}

std::size_t sampled_rows(const sched::planned_group& group) {
  if (!group.samples || group.seq->sampling.max_tokens == 0) return 0;
  return group.has_draft ? 2 : 1;
}

} // namespace

step_loop::step_loop(engine& device, expert_client& experts, step_loop_options options)
    : engine_(device), experts_(experts), pool_(device.info().page_count),
      scheduler_(with_engine(options.scheduling, device.info()), pool_), sampler_(std::move(options.sampling)) {
  refresh_gauges();
}

result<void> step_loop::admit(generation_request request, time_point now) {
  TROUPE_TRY(validate(request.sampling));
  TROUPE_TRY(check_tokens("prompt", request.prompt, engine_.info().vocab_size));
  TROUPE_TRY(check_tokens("output", request.output, engine_.info().vocab_size));
  auto admitted = scheduler_.admit(std::move(request), now);
  refresh_gauges();
  return admitted;
}

bool step_loop::cancel(request_id id) {
  const bool known = scheduler_.cancel(id);
  stats_.requests_cancelled += known;
  refresh_gauges();
  return known;
}

result<std::vector<token_event>> step_loop::step(time_point now) {
  const auto plan = scheduler_.plan();
  invariant(plan.groups.empty() != has_work(), "step_loop: there is work but nothing to compute");
  if (plan.groups.empty()) return std::vector<token_event>{};

  for (const auto& group : plan.groups)
    if (!group.seq->started) group.seq->started = now;
  std::vector<token_event> events;
  const auto computed = forward(plan);
  if (!computed && computed.error().code == errc::disconnected) {
    refresh_gauges();
    return computed.error();
  }

  std::vector<finish_reason> ends;
  std::vector<result<sampled_token>> chosen;
  if (computed) chosen = choose(plan);
  choices rest = chosen;
  std::int32_t first_logit = 0;
  for (const auto& group : plan.groups) {
    if (!computed) {
      ends.push_back(fail(*group.seq, events));
      continue;
    }
    const auto mine = rest.first(sampled_rows(group));
    rest = rest.subspan(mine.size());
    ends.push_back(answer(group, first_logit, mine, events));
    first_logit += group.logit_rows;
  }
  const auto drafts = draft(plan, ends);
  for (std::size_t i = 0; i < plan.groups.size(); ++i) {
    if (ends[i] == finish_reason::none)
      scheduler_.commit(plan.groups[i], drafts[i]);
    else
      scheduler_.finish(plan.groups[i]);
  }

  ++stats_.steps;
  stats_.step_rows.add(plan.row_count);
  stats_.stepped_at = now;
  refresh_gauges();
  return events;
}

result<void> step_loop::forward(const sched::step_plan& plan) {
  std::vector<row_group> groups;
  for (const auto& group : plan.groups)
    groups.push_back({.tokens = group.tokens,
                      .first_position = group.first_position,
                      .pages = group.seq->pages.pages(),
                      .logit_rows = group.logit_rows});
  return engine_.forward(groups, experts_);
}

/// A draft counts as a token for the row behind it: that row is used only if the draft is what comes out.
std::vector<result<sampled_token>> step_loop::choose(const sched::step_plan& plan) {
  for (const auto& group : plan.groups)
    if (group.has_draft) group.seq->tokens.push_back(group.tokens.back());
  std::vector<sample_row> rows;
  std::int32_t logits = 0;
  for (const auto& group : plan.groups) {
    logits += group.logit_rows;
    const auto& seq = *group.seq;
    for (auto left = sampled_rows(group); left-- > 0;)
      rows.push_back({.logit_row = logits - 1 - static_cast<std::int32_t>(left),
                      .params = &seq.sampling,
                      .tokens = std::span(seq.tokens).first(seq.tokens.size() - left),
                      .prompt_size = seq.prompt_size});
  }
  auto chosen = engine_.sample(rows, sampler_);
  for (const auto& group : plan.groups)
    if (group.has_draft) group.seq->tokens.pop_back();
  invariant(chosen.size() == rows.size(), "an engine answers every row that samples");
  return chosen;
}

finish_reason step_loop::answer(const sched::planned_group& group, std::int32_t first_logit, choices chosen,
                                std::vector<token_event>& events) {
  if (!report_prompt(group, first_logit, events)) return fail(*group.seq, events);
  return group.samples ? extend(group, chosen, events) : finish_reason::none;
}

result<void> step_loop::report_prompt(const sched::planned_group& group, std::int32_t first_logit,
                                      std::vector<token_event>& events) {
  auto& seq = *group.seq;
  if (!seq.owes_prompt_logprobs()) return {};
  const auto chunk_end = group.first_position + static_cast<std::int32_t>(group.tokens.size());
  const auto first_position = chunk_end - group.logit_rows + 1; // the first logits tell about the token after their row
  for (auto position = first_position; position <= chunk_end && position < seq.prompt_size; ++position) {
    const auto token = seq.tokens[static_cast<std::size_t>(position)];
    const auto logits = engine_.logits(first_logit + position - first_position);
    TROUPE_ASSIGN(auto scored, sampler_.score(logits, token, std::max(0, seq.sampling.logprobs)));
    events.push_back(make_event(seq, position, std::move(scored), finish_reason::none));
    seq.prompt_reported = position + 1;
  }
  return {};
}

finish_reason step_loop::extend(const sched::planned_group& group, choices chosen, std::vector<token_event>& events) {
  auto& seq = *group.seq;
  if (seq.output_size() == 0) stats_.prompt_tokens += static_cast<std::uint64_t>(seq.prompt_size);
  if (chosen.empty()) { // only the prompt was asked about
    events.push_back(make_event(seq, seq.size(), {}, finish_reason::length));
    ++stats_.requests_finished;
    return finish_reason::length;
  }
  stats_.drafts_proposed += group.has_draft;
  for (auto& next : chosen) {
    if (!next) return fail(seq, events);
    const auto token = next->token;
    const auto end = sampler_.finish_of(token, seq.sampling, seq.output_size() + 1);
    events.push_back(make_event(seq, seq.size(), std::move(*next), end));
    seq.tokens.push_back(token);
    ++stats_.generation_tokens;
    stats_.requests_finished += end != finish_reason::none;
    const bool accepted = &next != &chosen.back() && token == group.tokens.back();
    stats_.drafts_accepted += accepted;
    if (end != finish_reason::none || !accepted) return end;
  }
  return finish_reason::none;
}

std::vector<token_id> step_loop::draft(const sched::step_plan& plan, const std::vector<finish_reason>& ends) {
  std::vector<token_id> drafts(plan.groups.size(), -1);
  if (!scheduler_.options().speculate) return drafts;
  std::vector<draft_group> groups;
  std::vector<std::size_t> origin; // groups[i] drafts for plan.groups[origin[i]]
  std::int32_t first_row = 0;
  for (std::size_t i = 0; i < plan.groups.size(); ++i) {
    const auto& group = plan.groups[i];
    const auto& seq = *group.seq;
    const auto row_count = static_cast<std::int32_t>(group.tokens.size());
    if (ends[i] == finish_reason::none) {
      // A rejected draft's row is left out; every other row's next token is known by now.
      const auto known = std::min(row_count, seq.size() - 1 - group.first_position);
      const auto next = std::span(seq.tokens).subspan(static_cast<std::size_t>(group.first_position) + 1);
      groups.push_back({.first_row = first_row,
                        .first_position = group.first_position,
                        .next_tokens = next.first(static_cast<std::size_t>(known)),
                        .pages = seq.pages.pages(),
                        .wants_draft = group.samples});
      origin.push_back(i);
    }
    first_row += row_count;
  }
  if (groups.empty()) return drafts;
  const auto guesses = engine_.draft(groups, experts_);
  // Without drafts, or with bad ones from a module whose KV has a hole now, the output is the same, only later.
  if (!guesses || guesses->size() != groups.size()) {
    ++stats_.drafts_failed;
    return drafts;
  }
  for (std::size_t i = 0; i < groups.size(); ++i)
    if ((*guesses)[i] < engine_.info().vocab_size) drafts[origin[i]] = (*guesses)[i];
  return drafts;
}

finish_reason step_loop::fail(const sched::sequence& seq, std::vector<token_event>& events) {
  events.push_back(make_event(seq, seq.size(), {}, finish_reason::failed));
  ++stats_.requests_failed;
  return finish_reason::failed;
}

std::vector<token_event> step_loop::abandon() {
  std::vector<token_event> events;
  for (const auto* seq : scheduler_.sequences()) fail(*seq, events);
  for (const auto& event : events) scheduler_.cancel(event.id);
  refresh_gauges();
  return events;
}

void step_loop::refresh_gauges() {
  stats_.running = scheduler_.running();
  stats_.waiting = scheduler_.waiting();
  stats_.pages = pool_.page_count();
  stats_.pages_used = pool_.used_pages();
  stats_.preemptions = scheduler_.preemptions();
}

} // namespace troupe::exec
