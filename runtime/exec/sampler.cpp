#include "runtime/exec/sampler.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>

namespace troupe::exec {

namespace {

/// Temperatures below are greedy (vLLM's bound, too): nothing but the best would have weight, and nothing overflows.
constexpr float greedy_below = 1e-5f;
constexpr std::int32_t unseen = -2; // neither a number of uses nor kernels::forbidden

struct candidate {
  float logit;
  token_id token;
};

/// Higher logit first, ties lowest id first.
constexpr auto better = [](const candidate& a, const candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
};

/// The largest logit, or nothing where one is NaN or +infinity, or all are -infinity.
result<float> largest(std::span<const float> logits) {
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
  float largest = minus_infinity;
  bool finite = true;
  for (const auto logit : logits) {
    finite &= kernels::is_score(logit);
    largest = std::max(largest, logit);
  }
  if (!finite || largest == minus_infinity) return error{errc::bug, "sampler: logits are NaN, or infinite"};
  return largest;
}

/// log of the sum of exp(logit), in double and in the order of ids.
double log_sum_exp(std::span<const float> logits, float largest) {
  double sum = 0;
  for (const auto logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

bool penalises(const sampling_params& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
}

result<void> in_range(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return {}; // false for NaN
  char line[120];
  std::snprintf(line, sizeof line, "%s: must be between %g and %g, is %g", field, low, high, value);
  return error{errc::bad_input, line};
}

} // namespace

result<void> validate(const sampling_params& params) {
  constexpr double huge = std::numeric_limits<float>::max();
  TROUPE_TRY(in_range("temperature", params.temperature, 0, huge));
  TROUPE_TRY(in_range("top_k", params.top_k, 0, std::numeric_limits<int>::max()));
  TROUPE_TRY(in_range("top_p", params.top_p, 0, 1));
  TROUPE_TRY(in_range("min_p", params.min_p, 0, 1));
  TROUPE_TRY(in_range("repetition_penalty", params.repetition_penalty, std::numeric_limits<float>::min(), huge));
  TROUPE_TRY(in_range("presence_penalty", params.presence_penalty, -huge, huge));
  TROUPE_TRY(in_range("frequency_penalty", params.frequency_penalty, -huge, huge));
  TROUPE_TRY(in_range("max_tokens", params.max_tokens, 0, limits::max_tokens_max));
  TROUPE_TRY(in_range("min_tokens", params.min_tokens, 0, params.max_tokens));
  return in_range("logprobs", params.logprobs, -1, limits::top_logprobs_max);
}

result<sampled_token> sampler::sample(std::span<const float> logits, const sampling_params& params,
                                      std::span<const token_id> tokens, std::int32_t prompt_size) {
  edits_.clear();
  const auto draw = draw_of(params, tokens, prompt_size, edits_);
  sampled_token chosen;
  chosen.token = chooser_.sample(logits, options_.vocab_size, draw, edits_);
  if (chosen.token < 0) return error{errc::bug, "sampler: a logit is NaN or infinite, or no token is allowed"};
  if (params.logprobs < 0) return chosen;
  return score(logits, chosen.token, params.logprobs);
}

kernels::token_draw sampler::draw_of(const sampling_params& params, std::span<const token_id> tokens,
                                     std::int32_t prompt_size, std::vector<kernels::score_edit>& edits) {
  kernels::token_draw draw;
  draw.repetition_penalty = params.repetition_penalty;
  draw.presence_penalty = params.presence_penalty, draw.frequency_penalty = params.frequency_penalty;
  if (params.temperature >= greedy_below) {
    draw.inverse_temperature = 1 / params.temperature;
    draw.top_k = params.top_k;
    if (params.top_p < 1) draw.top_p = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(params.top_p * 0x1p64));
    draw.weight_min =
        static_cast<std::uint64_t>(std::ceil(params.min_p * static_cast<double>(kernels::weight_of_best)));
    draw.uniform = philox_bits(params.seed, tokens.size(), draw_stream::target);
  }

  uses_.resize(static_cast<std::size_t>(options_.vocab_size), unseen);
  seen_.clear();
  if (static_cast<std::int32_t>(tokens.size()) - prompt_size < params.min_tokens) {
    forbid(options_.end_tokens);
    forbid(params.stop_token_ids);
  }
  if (penalises(params)) count(tokens, prompt_size);
  for (const auto token : seen_)
    edits.push_back({token, std::exchange(uses_[static_cast<std::size_t>(token)], unseen)});
  return draw;
}

void sampler::forbid(std::span<const token_id> tokens) {
  for (const auto token : tokens) {
    if (token < 0 || token >= options_.vocab_size) continue;
    auto& uses = uses_[static_cast<std::size_t>(token)];
    if (uses == unseen) seen_.push_back(token);
    uses = kernels::forbidden;
  }
}

void sampler::count(std::span<const token_id> tokens, std::int32_t prompt_size) {
  const auto prompt_end = static_cast<std::size_t>(prompt_size);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= options_.vocab_size) continue;
    auto& uses = uses_[static_cast<std::size_t>(tokens[i])];
    if (uses == kernels::forbidden) continue;
    if (uses == unseen) seen_.push_back(tokens[i]), uses = 0;
    uses += i >= prompt_end;
  }
}

result<sampled_token> sampler::score(std::span<const float> logits, token_id token, int top_count) {
  TROUPE_ASSIGN(const auto max_logit, largest(logits));
  if (token < 0 || static_cast<std::size_t>(token) >= logits.size())
    return error{errc::bug, "sampler: token " + std::to_string(token) + " has no logit"};
  const auto log_mass = log_sum_exp(logits, max_logit);
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_mass); };

  sampled_token chosen;
  chosen.token = token;
  chosen.logprob = logprob(logits[static_cast<std::size_t>(token)]);
  // A bounded list sorted best first; most logits fail the first comparison.
  std::vector<candidate> best;
  for (std::size_t id = 0; id < logits.size() && top_count > 0; ++id) {
    const candidate next{logits[id], static_cast<token_id>(id)};
    if (best.size() == static_cast<std::size_t>(top_count)) {
      if (!better(next, best.back())) continue;
      best.pop_back();
    }
    best.insert(std::upper_bound(best.begin(), best.end(), next, better), next);
  }
  for (const auto& c : best) chosen.top.push_back({c.token, logprob(c.logit)});
  return chosen;
}

finish_reason sampler::finish_of(token_id token, const sampling_params& params, std::int32_t output_size) const {
  const auto holds = [&](const std::vector<token_id>& tokens) {
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  };
  if ((!params.ignore_eos && holds(options_.end_tokens)) || holds(params.stop_token_ids)) return finish_reason::stop;
  return output_size >= params.max_tokens ? finish_reason::length : finish_reason::none;
}

} // namespace troupe::exec
