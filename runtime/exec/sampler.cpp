#include "runtime/exec/sampler.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/philox.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

namespace troupe::exec {

namespace {

/// Temperatures below are greedy (vLLM's bound, too): nothing but the best would have weight, and nothing overflows.
constexpr float greedy_below = 1e-5f;
constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Higher logit first, ties lowest id first: a total order, so that every partial sort of it is deterministic.
constexpr auto better = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
};

/// The largest logit, or nothing where one is NaN or +infinity, or all are -infinity.
result<float> largest(std::span<const float> logits) {
  float largest = minus_infinity;
  bool finite = true;
  for (const auto logit : logits) {
    finite &= logit < std::numeric_limits<float>::infinity(); // false for NaN, too
    largest = std::max(largest, logit);
  }
  if (!finite) return error{errc::bug, "sampler: a logit is NaN or infinite"};
  if (largest == minus_infinity) return error{errc::bug, "sampler: no token is allowed"};
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
  TROUPE_TRY(largest(logits));
  const auto vocab = std::min(logits.size(), static_cast<std::size_t>(options_.vocab_size));
  scores_.assign(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(vocab));
  mask(params, static_cast<std::int32_t>(tokens.size()) - prompt_size);
  penalise(params, tokens, prompt_size);
  TROUPE_ASSIGN(auto max_score, largest(scores_));

  token_id token = -1;
  if (params.temperature < greedy_below)
    token = static_cast<token_id>(std::find(scores_.begin(), scores_.end(), max_score) - scores_.begin());
  else
    token = draw(params, max_score, tokens.size());
  if (params.logprobs < 0) {
    sampled_token chosen;
    chosen.token = token;
    return chosen;
  }
  return score(logits, token, params.logprobs);
}

bool sampler::takes_the_best(const sampling_params& params, std::int32_t output_size) const {
  return params.temperature < greedy_below && params.logprobs < 0 && output_size >= params.min_tokens &&
         !penalises(params);
}

void sampler::mask(const sampling_params& params, std::int32_t output_size) {
  if (output_size >= params.min_tokens) return;
  const auto forbid = [&](const std::vector<token_id>& tokens) {
    for (const auto token : tokens)
      if (token >= 0 && static_cast<std::size_t>(token) < scores_.size())
        scores_[static_cast<std::size_t>(token)] = minus_infinity;
  };
  forbid(options_.end_tokens);
  forbid(params.stop_token_ids);
}

void sampler::penalise(const sampling_params& params, std::span<const token_id> tokens, std::int32_t prompt_size) {
  if (!penalises(params)) return;
  counts_.resize(scores_.size(), 0);
  seen_.clear();
  const auto prompt_end = static_cast<std::size_t>(prompt_size);
  // Output first: a token's count is complete when the prompt meets it, and each token is touched once.
  for (std::size_t i = tokens.size(); i-- > 0;) {
    const auto token = static_cast<std::size_t>(tokens[i]);
    if (token >= counts_.size()) continue;
    if (counts_[token] == 0) seen_.push_back(tokens[i]);
    if (counts_[token] == 0 || i >= prompt_end) counts_[token] += i >= prompt_end ? 1 : -1;
  }
  for (const auto token : seen_) {
    auto& score = scores_[static_cast<std::size_t>(token)];
    auto& count = counts_[static_cast<std::size_t>(token)]; // -1: in the prompt only
    score = score < 0 ? score * params.repetition_penalty : score / params.repetition_penalty;
    if (count > 0) score -= params.presence_penalty + params.frequency_penalty * static_cast<float>(count);
    count = 0;
  }
}

token_id sampler::draw(const sampling_params& params, float max_score, std::size_t position) {
  const auto to_logit = [&](float score) { return score / params.temperature; };
  const auto max_logit = to_logit(max_score);
  kept_.clear();
  for (std::size_t token = 0; token < scores_.size(); ++token)
    if (scores_[token] != minus_infinity) kept_.push_back({to_logit(scores_[token]), static_cast<token_id>(token), 0});
  keep_top_k(params.top_k);
  for (auto& c : kept_) c.weight = std::exp(static_cast<double>(c.logit) - max_logit);
  keep_top_p(params.top_p);
  std::erase_if(kept_, [&](const candidate& c) { return c.weight < params.min_p; });

  // By id, not by weight: where another engine's rounding swaps two near-equal tokens, the sums hardly move.
  if (params.top_k > 0 || params.top_p < 1)
    std::sort(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  double mass = 0;
  for (const auto& c : kept_) mass += c.weight;
  const auto target = mass * philox_uniform(params.seed, position, draw_stream::target);
  double below = 0;
  for (const auto& c : kept_)
    if ((below += c.weight) > target) return c.token;
  return kept_.back().token;
}

void sampler::keep_top_k(int k) {
  if (k == 0 || static_cast<std::size_t>(k) >= kept_.size()) return;
  const auto kth = kept_.begin() + k - 1;
  std::nth_element(kept_.begin(), kth, kept_.end(), better);
  const auto threshold = kth->logit;
  std::erase_if(kept_, [&](const candidate& c) { return c.logit < threshold; });
}

void sampler::keep_top_p(float p) {
  if (p >= 1) return;
  double mass = 0;
  for (const auto& c : kept_) mass += c.weight;
  // The nucleus is small as a rule: sort the best few, and more only while their mass does not suffice.
  double above = 0;
  std::size_t sorted = 0;
  for (std::size_t wanted = 64; sorted < kept_.size(); wanted *= 8) {
    const auto first = kept_.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, kept_.size()));
    std::partial_sort(first, last, kept_.end(), better);
    for (; sorted < static_cast<std::size_t>(last - kept_.begin()); ++sorted) {
      if (sorted > 0 && above >= p * mass) return kept_.resize(sorted);
      above += kept_[sorted].weight;
    }
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
    const candidate next{logits[id], static_cast<token_id>(id), 0};
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
