// Math      l = x Wᵀ;  s = sigmoid(l) or softmax(l);  b = s + bias;  groups by the sum of their two best b (noaux_tc),
//           or their best s (group_limited_greedy);  top_k of b in them;  w = s[chosen] (/ sum) * scaling
// Shapes    x [n, hidden] f32;  W [experts, hidden] exact, fp32 products;  out [n, top_k], experts ascending
// Roofline  decode: W read once (R1: 3.7 MB of bf16 a layer); choosing is a few thousand comparisons a row
#include "kernels/cpu/router.hpp"

#include "kernels/cpu/check.hpp"
#include "kernels/cpu/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace troupe::kernels {
namespace {

constexpr float masked = -std::numeric_limits<float>::infinity();

/// Indices of the `count` largest values, ties to the lowest index; ascending.
std::vector<std::int32_t> largest(const std::vector<float>& values, std::int64_t count) {
  std::vector<std::int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::int32_t a, std::int32_t b) {
    return values[a] > values[b] || (values[a] == values[b] && a < b);
  });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

float group_score(gate_method method, const float* first, std::int64_t size) {
  float best = masked, second = masked;
  for (std::int64_t i = 0; i < size; ++i) {
    if (first[i] > best) {
      second = best, best = first[i];
    } else {
      second = std::max(second, first[i]);
    }
  }
  return method == gate_method::noaux_tc ? best + second : best;
}

void mask_other_groups(const gate_config& c, std::vector<float>& choice) {
  const auto size = c.experts / c.groups;
  std::vector<float> scores;
  for (std::int64_t g = 0; g < c.groups; ++g) scores.push_back(group_score(c.method, choice.data() + g * size, size));
  const auto kept = largest(scores, c.groups_kept);
  for (std::int64_t g = 0; g < c.groups; ++g)
    if (!std::binary_search(kept.begin(), kept.end(), static_cast<std::int32_t>(g)))
      std::fill_n(choice.begin() + g * size, size, masked);
}

} // namespace

void choose_experts(const gate_config& c, const float* logits, const float* bias, std::int32_t* experts,
                    float* weights) {
  std::vector<float> scores(logits, logits + c.experts);
  if (c.scoring == gate_scoring::softmax) {
    softmax(scores.data(), c.experts);
  } else {
    for (auto& s : scores) s = 1.0f / (1.0f + std::exp(-s));
  }
  auto choice = scores;
  if (bias && c.method == gate_method::noaux_tc)
    for (std::size_t e = 0; e < choice.size(); ++e) choice[e] += bias[e];
  if (c.method != gate_method::greedy && c.groups > 1) mask_other_groups(c, choice);

  const auto chosen = largest(choice, c.top_k);
  float sum = 0;
  for (const auto e : chosen) sum += scores[e];
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    experts[i] = chosen[i];
    weights[i] = (c.normalise ? scores[chosen[i]] / (sum + 1e-20f) : scores[chosen[i]]) * c.scaling;
  }
}

router::router(const gate_config& config, const weight_view& weight, std::span<const float> bias, isa set)
    : config_(config), weight_(weight, {set, compute_type::float32}), bias_(bias.begin(), bias.end()) {
  check(config.experts == weight.rows && config.top_k <= config.experts, "gate does not fit its weight");
  check(bias.empty() || static_cast<std::int64_t>(bias.size()) == config.experts, "one bias for each expert");
  check(config.groups >= 1 && config.experts % config.groups == 0 && config.groups_kept <= config.groups &&
            config.top_k <= config.groups_kept * (config.experts / config.groups),
        "expert groups do not fit");
}

void router::route(thread_pool& pool, const float* x, std::int64_t x_stride, std::int64_t n, std::int32_t* experts,
                   float* weights) const {
  std::vector<float> logits(static_cast<std::size_t>(n * config_.experts));
  weight_.multiply(pool, x, x_stride, n, logits.data(), config_.experts);
  pool.parallel_for(n, [&](std::int64_t r) {
    choose_experts(config_, logits.data() + r * config_.experts, bias_.empty() ? nullptr : bias_.data(),
                   experts + r * config_.top_k, weights + r * config_.top_k);
  });
}

} // namespace troupe::kernels
