#include "kernels/ref/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace troupe::kernels::ref {

std::vector<long double> distribution(const std::vector<float>& logits, const sampling_rule& rule,
                                      const std::vector<std::int32_t>& tokens, int prompt_size) {
  const auto vocab = logits.size();
  std::vector<float> scores = logits;
  for (std::size_t t = 0; t < vocab; ++t) {
    const auto id = static_cast<std::int32_t>(t);
    const auto uses = std::count(tokens.begin() + prompt_size, tokens.end(), id);
    if (std::find(tokens.begin(), tokens.end(), id) != tokens.end())
      scores[t] = scores[t] < 0 ? scores[t] * rule.repetition_penalty : scores[t] / rule.repetition_penalty;
    if (uses > 0) scores[t] -= rule.presence_penalty + rule.frequency_penalty * static_cast<float>(uses);
  }
  std::vector<std::size_t> order(vocab);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
  const long double best = scores[order[0]];
  std::vector<long double> p(vocab, 0);
  const auto k = rule.top_k == 0 ? vocab : std::min(vocab, static_cast<std::size_t>(rule.top_k));
  for (std::size_t t = 0; t < vocab; ++t)
    if (scores[t] >= scores[order[k - 1]]) p[t] = std::exp((scores[t] - best) / rule.temperature);
  const auto mass = std::accumulate(p.begin(), p.end(), 0.0L);
  long double above = 0;
  for (std::size_t i = 0; i < vocab; ++i) {
    const auto weight = p[order[i]];
    if (i > 0 && rule.top_p < 1 && above >= rule.top_p * mass) p[order[i]] = 0;
    above += weight;
  }
  for (auto& weight : p)
    if (weight < rule.min_p) weight = 0;
  const auto rest = std::accumulate(p.begin(), p.end(), 0.0L);
  for (auto& weight : p) weight /= rest;
  return p;
}

std::int32_t inverse_cdf(const std::vector<long double>& p, long double u) {
  long double below = 0;
  std::int32_t last = -1;
  for (std::size_t t = 0; t < p.size(); ++t) {
    if (p[t] == 0) continue;
    last = static_cast<std::int32_t>(t);
    if ((below += p[t]) > u) return last;
  }
  return last;
}

} // namespace troupe::kernels::ref
