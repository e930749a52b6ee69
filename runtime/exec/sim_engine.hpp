// An engine without arithmetic, for tests of everything around engines: a hash chain (operations.md, section 2). The
// state of a position folds in every earlier position's page entry of every layer and every routed expert's answer, and
// the next token's logits are a hash of it: a lost, doubled, swapped or corrupted token, page or expert output changes
// every later token. sim_oracle() says in closed form what must come out.
#pragma once

#include "runtime/core/generation.hpp"
#include "runtime/exec/engine.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/exec/sampler.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::exec {

struct sim_model {
  std::uint64_t seed = 1;
  std::int32_t vocab_size = 97;
  std::int32_t layer_count = 3; ///< all with routed experts; the MTP module is layer `layer_count` and has none
  std::int32_t expert_count = 16;
  std::int32_t experts_per_row = 4;
  /// Activations are bytes as floats, exact in f32 and bf16: a 64-bit state is eight of them.
  static constexpr std::int32_t hidden_size = 8;
};

class sim_engine final : public engine {
 public:
  sim_engine(const sim_model& model, std::int32_t page_count, bool can_draft = true);

  const engine_info& info() const override { return info_; }
  result<void> forward(std::span<const row_group> groups, expert_client& experts) override;
  std::span<const float> logits(std::int32_t i) const override;
  /// Right about half the time, and wrong wherever the module's own page entries are not those of the sequence.
  result<std::vector<token_id>> draft(std::span<const draft_group> groups, expert_client& experts) override;

  /// Drafts made over page entries that were missing or stale.
  std::uint64_t stale_drafts() const { return stale_drafts_; }

 private:
  std::uint64_t& entry(std::span<const page_id> pages, std::int32_t position, std::int32_t layer);

  sim_model model_;
  engine_info info_;
  std::vector<std::uint64_t> entries_; // [page, position in page, layer_count + 1]
  std::vector<std::vector<float>> logits_;
  std::vector<std::uint64_t> row_latents_; // [rows of the last forward()] their entries of layer 0
  std::uint64_t stale_drafts_ = 0;
};

class sim_expert_engine final : public expert_engine {
 public:
  /// `owned` experts, ascending.
  sim_expert_engine(const sim_model& model, std::vector<expert_index> owned);

  result<moe::shard_output> run(const moe::shard_batch& batch) override;

 private:
  sim_model model_;
  std::vector<expert_index> owned_;
};

/// The tokens that `request` must get (its stop token included), computed without pages, batches, shards or drafts.
std::vector<token_id> sim_oracle(const sim_model& model, const generation_request& request,
                                 const sampler_options& sampling);

} // namespace troupe::exec
