// deepseek_v3 in double precision, as model-spec.md writes it: naive attention, no cache, one expert after the other.
// Slow and obviously right; what the CPU engine is compared with where transformers' results are not at hand.
#pragma once

#include "kernels/ref/cache.hpp"
#include "kernels/ref/dense.hpp"
#include "runtime/exec/model_weights.hpp"
#include "tests/support/w8a8.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

namespace troupe::exec::test {

using row = std::vector<double>;
using rows = std::vector<row>;

class reference_model {
 public:
  /// With `w8a8`, inputs of products with FP8 weights are rounded to FP8 in groups of 128 (kv_b's are not).
  reference_model(weight_source& weights, const model::model_config& config, bool w8a8 = false)
      : weights_(weights), config_(config), w8a8_(w8a8) {}

  /// From now on, what would be cached is rounded to fp8_ds_mla.
  void round_entries() { rounds_entries_ = true; }

  /// States [tokens, hidden] after the final norm.
  rows hidden(const std::vector<token_id>& tokens) {
    rows x;
    for (const auto t : tokens) x.push_back(embed(t));
    for (layer_index layer = 0; layer < config_.layer_count; ++layer) run_layer(layer, x);
    return norm(x, "model.norm.weight");
  }

  rows logits(const rows& hidden) {
    const auto name = config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    return project(hidden, name, config_.vocab_size);
  }

  /// MTP logits [states, vocab]: row i sees `hidden[i]` and `next_tokens[i]`.
  rows draft_logits(const rows& hidden, const std::vector<token_id>& next_tokens) {
    const auto prefix = layer_prefix(config_.layer_count);
    rows mixed, embedded;
    for (const auto t : next_tokens) embedded.push_back(embed(t));
    const auto e = norm(embedded, prefix + "enorm.weight"), h = norm(hidden, prefix + "hnorm.weight");
    for (std::size_t i = 0; i < e.size(); ++i) {
      mixed.push_back(e[i]);
      mixed.back().insert(mixed.back().end(), h[i].begin(), h[i].end());
    }
    auto x = project(mixed, prefix + "eh_proj.weight", config_.hidden_size);
    run_layer(config_.layer_count, x);
    return logits(norm(x, prefix + "shared_head.norm.weight"));
  }

 private:
  row vector(const std::string& name, std::int64_t size) {
    const auto values = weights_.vector(name, size).value();
    return {values.begin(), values.end()};
  }

  row embed(token_id token) {
    const auto table = weights_.matrix("model.embed_tokens.weight", config_.vocab_size, config_.hidden_size).value();
    std::vector<float> values(static_cast<std::size_t>(config_.hidden_size));
    kernels::dequantize_row(table.view, token, values.data());
    return {values.begin(), values.end()};
  }

  rows project(const rows& x, const std::string& name, std::int64_t width) {
    row flat;
    for (const auto& r : x) flat.insert(flat.end(), r.begin(), r.end());
    const auto cols = static_cast<std::int64_t>(x.front().size());
    const auto w = weights_.matrix(name, width, cols).value();
    if (w8a8_ && w.view.type == kernels::tensor_type::f8_e4m3 && !name.ends_with("kv_b_proj.weight"))
      for (std::size_t i = 0; i < x.size(); ++i)
        testing::quantise_activations(flat.data() + static_cast<std::int64_t>(i) * cols,
                                      static_cast<std::size_t>(cols));
    const auto y = kernels::ref::matmul(flat, static_cast<std::int64_t>(x.size()), w.view);
    rows out;
    for (std::size_t i = 0; i < x.size(); ++i) out.emplace_back(y.begin() + i * width, y.begin() + (i + 1) * width);
    return out;
  }

  rows biased(rows x, const std::string& name) {
    if (!config_.attention_bias) return x;
    const auto b = vector(name, static_cast<std::int64_t>(x.front().size()));
    for (auto& r : x) std::transform(r.begin(), r.end(), b.begin(), r.begin(), std::plus<>{});
    return x;
  }

  rows norm(const rows& x, const std::string& name, double eps = -1) {
    rows y;
    const auto w = vector(name, static_cast<std::int64_t>(x.front().size()));
    for (const auto& r : x) y.push_back(kernels::ref::rmsnorm(r, w, eps < 0 ? config_.rms_norm_eps : eps));
    return y;
  }

  double yarn_g(double m) const { return config_.yarn->factor <= 1 ? 1 : 0.1 * m * std::log(config_.yarn->factor) + 1; }

  double frequency(int i) const {
    const double d = config_.qk_rope_head_dim, f = std::pow(config_.rope_theta, -2 * i / d);
    if (!config_.yarn) return f;
    const auto& y = *config_.yarn;
    const auto cdim = [&](double r) {
      return d * std::log(y.original_max_position_embeddings / (2 * std::numbers::pi * r)) /
             (2 * std::log(config_.rope_theta));
    };
    const double low = std::max(std::floor(cdim(y.beta_fast)), 0.0);
    double high = std::min(std::ceil(cdim(y.beta_slow)), d - 1);
    if (low == high) high += 0.001;
    const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    return f / y.factor * ramp + f * (1 - ramp);
  }

  /// Rotates channels [first, first + rope) of `x`.
  void rotate(row& x, std::size_t first, double position) const {
    const int half = config_.qk_rope_head_dim / 2;
    double factor = 1;
    if (config_.yarn) {
      const auto& y = *config_.yarn;
      factor = y.attention_factor                       ? *y.attention_factor
               : y.mscale != 0 && y.mscale_all_dim != 0 ? yarn_g(y.mscale) / yarn_g(y.mscale_all_dim)
                                                        : yarn_g(1);
    }
    for (int i = 0; i < half; ++i) {
      const double c = factor * std::cos(position * frequency(i)), s = factor * std::sin(position * frequency(i));
      auto& a = x[first + (config_.rope_interleave ? 2 * i : i)];
      auto& b = x[first + (config_.rope_interleave ? 2 * i + 1 : i + half)];
      const double old = a;
      a = old * c - b * s;
      b = b * c + old * s;
    }
  }

  /// `kv` holds the rotated key behind the latent's place.
  void round_entry(row& latent, row& kv) const {
    const auto rope = kv.begin() + config_.kv_lora_rank;
    const auto entry = kernels::ref::cache_entry({latent.begin(), latent.end()}, {rope, kv.end()});
    const auto values = kernels::ref::cached_values(entry, config_.kv_lora_rank, config_.qk_rope_head_dim);
    std::copy_n(values.begin(), latent.size(), latent.begin());
    std::copy(values.begin() + config_.kv_lora_rank, values.end(), rope);
  }

  rows attention(const std::string& p, const rows& u) {
    const auto& c = config_;
    const int qk = c.qk_head_dim(), per_head = c.qk_nope_head_dim + c.v_head_dim;
    rows q;
    if (c.q_lora_rank > 0) {
      q = biased(project(u, p + "q_a_proj.weight", c.q_lora_rank), p + "q_a_proj.bias");
      q = project(norm(q, p + "q_a_layernorm.weight", 1e-6), p + "q_b_proj.weight", c.head_count * qk);
    } else {
      q = project(u, p + "q_proj.weight", c.head_count * qk);
    }
    auto kv = biased(project(u, p + "kv_a_proj_with_mqa.weight", c.latent_dim()), p + "kv_a_proj_with_mqa.bias");
    rows latent;
    for (std::size_t t = 0; t < u.size(); ++t) {
      rotate(kv[t], static_cast<std::size_t>(c.kv_lora_rank), static_cast<double>(t));
      for (int h = 0; h < c.head_count; ++h)
        rotate(q[t], static_cast<std::size_t>(h * qk + c.qk_nope_head_dim), static_cast<double>(t));
      latent.emplace_back(kv[t].begin(), kv[t].begin() + c.kv_lora_rank);
    }
    latent = norm(latent, p + "kv_a_layernorm.weight", 1e-6);
    for (std::size_t t = 0; rounds_entries_ && t < u.size(); ++t) round_entry(latent[t], kv[t]);
    const auto kvx = project(latent, p + "kv_b_proj.weight", c.head_count * per_head);

    double scale = 1 / std::sqrt(static_cast<double>(qk));
    if (c.yarn && c.yarn->mscale_all_dim != 0) scale *= std::pow(yarn_g(c.yarn->mscale_all_dim), 2);
    rows out(u.size());
    for (std::size_t t = 0; t < u.size(); ++t)
      for (int h = 0; h < c.head_count; ++h) {
        row scores;
        for (std::size_t s = 0; s <= t; ++s) {
          const double nope = std::inner_product(q[t].begin() + h * qk, q[t].begin() + h * qk + c.qk_nope_head_dim,
                                                 kvx[s].begin() + h * per_head, 0.0);
          const double rope = std::inner_product(kv[s].begin() + c.kv_lora_rank, kv[s].end(),
                                                 q[t].begin() + h * qk + c.qk_nope_head_dim, 0.0);
          scores.push_back(scale * (nope + rope));
        }
        const auto weights = kernels::ref::softmax(scores);
        for (int i = 0; i < c.v_head_dim; ++i) {
          double sum = 0;
          for (std::size_t s = 0; s <= t; ++s) sum += weights[s] * kvx[s][h * per_head + c.qk_nope_head_dim + i];
          out[t].push_back(sum);
        }
      }
    return biased(project(out, p + "o_proj.weight", c.hidden_size), p + "o_proj.bias");
  }

  rows swiglu(const std::string& p, const rows& x, std::int64_t width) {
    auto gate = project(x, p + "gate_proj.weight", width);
    const auto up = project(x, p + "up_proj.weight", width);
    for (std::size_t t = 0; t < x.size(); ++t)
      for (std::size_t i = 0; i < gate[t].size(); ++i) gate[t][i] = kernels::ref::silu(gate[t][i]) * up[t][i];
    return project(gate, p + "down_proj.weight", config_.hidden_size);
  }

  /// (expert, weight) pairs of one token.
  std::vector<std::pair<int, double>> route(row scores, const row& correction) const {
    const auto& c = config_;
    if (c.scoring_func == model::scoring::sigmoid) {
      for (auto& s : scores) s = 1 / (1 + std::exp(-s));
    } else {
      scores = kernels::ref::softmax(scores);
    }
    auto choice = scores;
    for (std::size_t e = 0; e < correction.size(); ++e) choice[e] += correction[e];
    const auto size = static_cast<std::size_t>(c.expert_count / c.group_count);
    if (c.topk != model::topk_method::greedy) {
      std::vector<std::pair<double, int>> groups;
      for (int g = 0; g < c.group_count; ++g) {
        row members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
        std::sort(members.rbegin(), members.rend());
        groups.emplace_back(members[0] + (c.topk == model::topk_method::noaux_tc ? members[1] : 0), g);
      }
      std::sort(groups.rbegin(), groups.rend());
      for (int i = c.topk_group; i < c.group_count; ++i)
        std::fill_n(choice.begin() + groups[i].second * size, size, -INFINITY);
    }
    std::vector<int> order(choice.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return choice[a] > choice[b]; });
    double sum = 0;
    for (int i = 0; i < c.experts_per_token; ++i) sum += scores[order[i]];
    std::vector<std::pair<int, double>> chosen;
    for (int i = 0; i < c.experts_per_token; ++i)
      chosen.emplace_back(order[i], c.routed_scaling_factor * scores[order[i]] / (c.norm_topk_prob ? sum + 1e-20 : 1));
    return chosen;
  }

  rows mixture(const std::string& p, const rows& x) {
    const auto& c = config_;
    rows y(x.size(), row(static_cast<std::size_t>(c.hidden_size), 0.0));
    if (c.shared_expert_count > 0)
      y = swiglu(p + "shared_experts.", x, c.shared_expert_count * c.moe_intermediate_size);
    const auto logits = project(x, p + "gate.weight", c.expert_count);
    row correction;
    if (c.topk == model::topk_method::noaux_tc) correction = vector(p + "gate.e_score_correction_bias", c.expert_count);
    for (std::size_t t = 0; t < x.size(); ++t)
      for (const auto& [expert, weight] : route(logits[t], correction)) {
        const auto out = swiglu(p + "experts." + std::to_string(expert) + ".", {x[t]}, c.moe_intermediate_size);
        for (std::size_t i = 0; i < y[t].size(); ++i) y[t][i] += weight * out[0][i];
      }
    return y;
  }

  void run_layer(layer_index layer, rows& x) {
    const auto p = layer_prefix(layer);
    const auto add = [&](const rows& y) {
      for (std::size_t t = 0; t < x.size(); ++t)
        for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
    };
    add(attention(p + "self_attn.", norm(x, p + "input_layernorm.weight")));
    const auto normed = norm(x, p + "post_attention_layernorm.weight");
    add(config_.is_moe(layer) ? mixture(p + "mlp.", normed) : swiglu(p + "mlp.", normed, config_.intermediate_size));
  }

  weight_source& weights_;
  const model::model_config& config_;
  bool w8a8_ = false;
  bool rounds_entries_ = false;
};

} // namespace troupe::exec::test
