#include "kernels/cpu/sample.hpp"

#include <algorithm>
#include <limits>

namespace troupe::kernels {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Higher score first, ties lowest id first: a total order, so that every partial sort of it is deterministic.
constexpr auto better = [](const auto& a, const auto& b) {
  return a.score != b.score ? a.score > b.score : a.token < b.token;
};

} // namespace

std::int32_t token_sampler::sample(std::span<const float> logits, std::int32_t count, const token_draw& draw,
                                   std::span<const score_edit> edits) {
  if (!std::all_of(logits.begin(), logits.end(), is_score)) return -1;
  const auto candidates = std::min(logits.size(), static_cast<std::size_t>(count));
  scores_.assign(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(candidates));
  for (const auto& e : edits) {
    if (static_cast<std::size_t>(e.token) >= candidates) continue;
    auto& score = scores_[static_cast<std::size_t>(e.token)];
    score = edited(score, e.uses, draw);
    if (!is_score(score)) return -1;
  }
  const auto best = std::max_element(scores_.begin(), scores_.end());
  if (best == scores_.end() || *best == minus_infinity) return -1;
  if (draw.inverse_temperature == 0) return static_cast<std::int32_t>(best - scores_.begin());

  kept_.clear();
  for (std::size_t token = 0; token < candidates; ++token)
    if (const auto weight = weight_of(scores_[token], *best, draw))
      kept_.push_back({scores_[token], static_cast<std::int32_t>(token), weight});
  if (draw.top_k > 0) keep_top_k(static_cast<std::size_t>(draw.top_k));
  if (draw.top_p > 0) keep_top_p(draw.top_p);
  std::erase_if(kept_, [&](const candidate& c) { return c.weight < draw.weight_min; });
  // By id, not by weight: where another engine's rounding swaps two near-equal tokens, the sums hardly move.
  if (draw.top_k > 0 || draw.top_p > 0)
    std::sort(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.token < b.token; });

  const auto target = share_of(mass(), draw.uniform);
  auto chosen = kept_.begin();
  for (auto below = chosen->weight; below <= target; below += chosen->weight) ++chosen;
  return chosen->token;
}

std::uint64_t token_sampler::mass() const {
  std::uint64_t sum = 0;
  for (const auto& c : kept_) sum += c.weight;
  return sum;
}

/// Ties of the k-th stay.
void token_sampler::keep_top_k(std::size_t k) {
  if (k >= kept_.size()) return;
  const auto kth = kept_.begin() + static_cast<std::ptrdiff_t>(k) - 1;
  std::nth_element(kept_.begin(), kth, kept_.end(), better);
  const auto threshold = kth->score;
  std::erase_if(kept_, [&](const candidate& c) { return c.score < threshold; });
}

void token_sampler::keep_top_p(std::uint64_t p) {
  const auto all = mass(), wanted = mass_wanted(all, p), light = light_below(all, p, kept_.size());
  std::erase_if(kept_, [&](const candidate& c) { return c.weight < light; });
  // The nucleus is small as a rule: sort the best few, and more only while their mass does not suffice.
  std::uint64_t above = 0;
  std::size_t sorted = 0;
  for (std::size_t next = 64; sorted < kept_.size(); next *= 8) {
    const auto first = kept_.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(std::min(next, kept_.size()));
    std::partial_sort(first, last, kept_.end(), better);
    for (; sorted < static_cast<std::size_t>(last - kept_.begin()); ++sorted) {
      if (above >= wanted) return kept_.resize(sorted);
      above += kept_[sorted].weight;
    }
  }
}

} // namespace troupe::kernels
