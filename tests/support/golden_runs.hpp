// Runs of the CPU engine that golden tests compare with transformers.
#pragma once

#include "runtime/exec/cpu_model.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/golden.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace troupe::testing {

/// Passes everything on and remembers what the gates chose.
class recording_client final : public exec::expert_client {
 public:
  explicit recording_client(exec::expert_client& to) : to_(to) {}

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    choices.push_back(choice);
    return to_.start(layer, choice, inputs);
  }
  result<void> finish(std::span<float> out) override { return to_.finish(out); }

  std::vector<moe::routing> choices; ///< one for each MoE layer and call

 private:
  exec::expert_client& to_;
};

/// Largest |a - b|; infinite where sizes differ or something is not a number.
inline double largest_difference(std::span<const float> want, const logit_rows& got) {
  std::size_t i = 0;
  double worst = 0;
  for (const auto& row : got)
    for (const float value : row) {
      if (i == want.size() || !std::isfinite(value)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, std::abs(static_cast<double>(value) - want[i++]));
    }
  return i == want.size() ? worst : std::numeric_limits<double>::infinity();
}

/// Largest difference to transformers' float32 logits, which are those of the last rows of some prompts.
inline double largest_error(const golden_case& golden, engine_rig& rig) {
  double worst = 0;
  for (std::size_t p = 0; p < golden.prompts.size(); ++p) {
    const auto* want = golden.find(p, "logits_f32");
    if (!want) continue;
    const auto& ids = golden.prompts[p].ids;
    const auto pages = pages_from(0, ids.size());
    const auto rows = static_cast<std::int32_t>(want->shape[0]);
    const exec::row_group group{.tokens = ids, .pages = pages, .logit_rows = rows};
    rig.device->forward({&group, 1}, *rig.experts).value();
    worst =
        std::max(worst, largest_difference(want->values, copy_logits(*rig.device, 0, static_cast<std::size_t>(rows))));
  }
  return worst;
}

/// Tokens that agree position by position.
inline std::size_t tokens_alike(std::span<const token_id> a, std::span<const token_id> b) {
  std::size_t same = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) same += a[i] == b[i];
  return same;
}

inline token_id best_token(std::span<const float> logits) {
  return static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Up to `count` arg-max tokens after `prompt`, ending with `end_token` if that comes.
inline std::vector<token_id> run_greedy(engine_rig& rig, std::span<const token_id> prompt, std::size_t count,
                                        token_id end_token) {
  const auto pages = pages_from(0, prompt.size() + count);
  std::vector<token_id> output, rows(prompt.begin(), prompt.end());
  std::int32_t position = 0;
  while (output.size() < count && (output.empty() || output.back() != end_token)) {
    const exec::row_group group{.tokens = rows, .first_position = position, .pages = pages};
    rig.device->forward({&group, 1}, *rig.experts).value();
    position += static_cast<std::int32_t>(rows.size());
    output.push_back(best_token(rig.device->logits(0)));
    rows = {output.back()};
  }
  return output;
}

/// What the gates chose, as golden tensors router_experts and router_weights have it: [moe_layers, tokens, top_k].
struct gate_choices {
  std::vector<float> experts, weights;
};

inline gate_choices run_gates(engine_rig& rig, std::span<const token_id> prompt) {
  const auto pages = pages_from(0, prompt.size());
  recording_client recorder(*rig.experts);
  const exec::row_group group{.tokens = prompt, .pages = pages};
  rig.device->forward({&group, 1}, recorder).value();
  gate_choices all;
  for (const auto& choice : recorder.choices) {
    all.experts.insert(all.experts.end(), choice.experts.begin(), choice.experts.end());
    all.weights.insert(all.weights.end(), choice.weights.begin(), choice.weights.end());
  }
  return all;
}

/// The MTP module's logits at the last `wanted` of all rows but the prompt's last, whose next token is not known.
inline logit_rows run_drafts(engine_rig& rig, std::span<const token_id> prompt, std::size_t wanted) {
  const auto pages = pages_from(0, prompt.size());
  const exec::row_group whole{.tokens = prompt, .pages = pages};
  rig.device->forward({&whole, 1}, *rig.experts).value();

  std::vector<exec::draft_group> groups;
  for (std::size_t i = 0; i + 1 < prompt.size(); ++i) {
    const auto row = static_cast<std::int32_t>(i);
    groups.push_back({row, row, prompt.subspan(i + 1, 1), pages, i + 1 + wanted >= prompt.size()});
  }
  rig.device->draft(groups, *rig.experts).value();
  const auto& engine = dynamic_cast<const exec::cpu_model&>(*rig.device);
  logit_rows rows;
  for (std::size_t i = 0; i < wanted; ++i) {
    const auto row = engine.draft_logits(static_cast<std::int32_t>(i));
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

} // namespace troupe::testing
