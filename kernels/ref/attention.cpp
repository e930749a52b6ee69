#include "kernels/ref/attention.hpp"

#include "kernels/ref/dense.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numeric>

namespace troupe::kernels::ref {

std::vector<double> mla(const mla_shape& shape, const weight_view& kv_b, const std::vector<double>& q,
                        const std::vector<std::vector<double>>& entries) {
  const auto weights = dequantize(kv_b);
  const auto per_head = shape.nope + shape.value, count = static_cast<std::int64_t>(entries.size());
  std::vector<double> out(static_cast<std::size_t>(shape.heads * shape.value));
  for (std::int64_t h = 0; h < shape.heads; ++h) {
    // Row r of the head's kv_b slice applied to the latent of position s: k_nope for r < nope, then v.
    const auto expand = [&](std::int64_t r, std::int64_t s) {
      double sum = 0;
      for (std::int64_t c = 0; c < shape.latent; ++c)
        sum += weights[(h * per_head + r) * shape.latent + c] * entries[s][c];
      return sum;
    };
    const double* qh = q.data() + h * (shape.nope + shape.rope);
    std::vector<double> scores;
    for (std::int64_t s = 0; s < count; ++s) {
      double dot = 0;
      for (std::int64_t i = 0; i < shape.nope; ++i) dot += qh[i] * expand(i, s);
      for (std::int64_t i = 0; i < shape.rope; ++i) dot += qh[shape.nope + i] * entries[s][shape.latent + i];
      scores.push_back(dot * shape.scale);
    }
    const auto p = softmax(scores);
    for (std::int64_t i = 0; i < shape.value; ++i)
      for (std::int64_t s = 0; s < count; ++s) out[h * shape.value + i] += p[s] * expand(shape.nope + i, s);
  }
  return out;
}

std::vector<double> absorbed_mla(const std::vector<double>& q, const std::vector<std::vector<double>>& entries,
                                 std::int64_t latent, double scale) {
  std::vector<double> scores, z(static_cast<std::size_t>(latent));
  for (const auto& entry : entries)
    scores.push_back(scale * std::inner_product(q.begin(), q.end(), entry.begin(), 0.0));
  const auto p = softmax(scores);
  for (std::size_t s = 0; s < entries.size(); ++s)
    for (std::int64_t i = 0; i < latent; ++i) z[i] += p[s] * entries[s][i];
  return z;
}

choice choose_experts(const gate_config& c, const std::vector<double>& logits, const std::vector<double>& bias) {
  auto scores = c.scoring == gate_scoring::softmax ? softmax(logits) : logits;
  if (c.scoring == gate_scoring::sigmoid)
    for (auto& s : scores) s = 1 / (1 + std::exp(-s));
  auto biased = scores;
  if (c.method == gate_method::noaux_tc)
    for (std::size_t e = 0; e < bias.size(); ++e) biased[e] += bias[e];

  const auto group_of = [&](std::int64_t e) { return e / (c.experts / c.groups); };
  std::vector<double> group_scores;
  for (std::int64_t g = 0; g < c.groups; ++g) {
    std::vector<double> members;
    for (std::int64_t e = 0; e < c.experts; ++e)
      if (group_of(e) == g) members.push_back(biased[e]);
    std::sort(members.rbegin(), members.rend());
    members.push_back(-std::numeric_limits<double>::infinity());
    group_scores.push_back(c.method == gate_method::noaux_tc ? members[0] + members[1] : members[0]);
  }
  // An element is among the k best if fewer than k others beat it.
  const auto among_best = [](const std::vector<double>& values, std::int64_t i, std::int64_t k) {
    std::int64_t better = 0;
    for (std::int64_t j = 0; j < static_cast<std::int64_t>(values.size()); ++j)
      better += values[j] > values[i] || (values[j] == values[i] && j < i);
    return better < k;
  };
  if (c.method != gate_method::greedy)
    for (std::int64_t e = 0; e < c.experts; ++e)
      if (!among_best(group_scores, group_of(e), c.groups_kept)) biased[e] = -std::numeric_limits<double>::infinity();

  choice chosen;
  double sum = 0;
  for (std::int64_t e = 0; e < c.experts; ++e)
    if (among_best(biased, e, c.top_k)) {
      chosen.experts.push_back(static_cast<std::int32_t>(e));
      chosen.weights.push_back(scores[e]);
      sum += scores[e];
    }
  for (auto& w : chosen.weights) w *= c.scaling / (c.normalise ? sum + 1e-20 : 1);
  return chosen;
}

std::vector<double> rotate(const std::vector<double>& x, const std::vector<double>& frequencies, double position) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const auto turned = std::complex(x[2 * i], x[2 * i + 1]) * std::polar(1.0, position * frequencies[i]);
    y[2 * i] = turned.real(), y[2 * i + 1] = turned.imag();
  }
  return y;
}

} // namespace troupe::kernels::ref
