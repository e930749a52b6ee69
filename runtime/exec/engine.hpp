// What a kv_cache asks of its device. The CPU engine and the CUDA plug-in implement it; sim_engine makes it a hash
// chain for tests. One step: forward() -> sample -> draft(). All calls come from the one thread that owns the engine.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/exec/sampler.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe::exec {

/// Consecutive rows of one sequence in one step: a prefill chunk, or the last token and its drafts.
struct row_group {
  std::span<const token_id> tokens; ///< ids at positions first_position, first_position + 1, ...
  std::int32_t first_position = 0;
  std::span<const page_id> pages; ///< page i holds positions [64 i, 64 i + 64); covers every row
  std::int32_t logit_rows = 1;    ///< logits are wanted for the last so many rows; 0 inside a prompt
};

/// Rows of the last forward() that the MTP module shall see, now that their next tokens are known (model-spec.md 10).
struct draft_group {
  std::int32_t first_row = 0; ///< row of the last forward(), counted over all groups
  std::int32_t first_position = 0;
  std::span<const token_id> next_tokens; ///< next_tokens[i] follows row first_row + i
  std::span<const page_id> pages;
  bool wants_draft = true; ///< false inside a prompt: only the module's KV is filled
};

/// A token to choose: what the sampler is asked, about a row of the last forward().
struct sample_row {
  std::int32_t logit_row = 0; ///< as in logits()
  const sampling_params* params = nullptr;
  std::span<const token_id> tokens; ///< the prompt and the output so far
  std::int32_t prompt_size = 0;
};

struct engine_info {
  std::string name; ///< "cpu/amx_bf16", "cuda/sm_90a", "cuda/sm_80", "sim": numbers agree bit by bit within one name
  std::int32_t vocab_size = 0;
  std::int32_t page_count = 0; ///< pages of the pool, each limits::page_tokens positions of all layers
  std::size_t page_bytes = 0;
  bool can_draft = false; ///< the checkpoint has an MTP module
};

class engine {
 public:
  virtual ~engine() = default;

  virtual const engine_info& info() const = 0;

  /// Runs all groups through the model, writes their latent KV into their pages, keeps logits and final hidden states
  /// until the next call. Repeating a call with the same arguments is harmless and gives the same bits.
  /// Errors: whatever `experts` returned (disconnected: nothing is lost, call again).
  virtual result<void> forward(std::span<const row_group> groups, expert_client& experts) = 0;

  /// Logits [vocab_size] of the i-th wanted row of the last forward(), counted over all groups in order.
  virtual std::span<const float> logits(std::int32_t i) const = 0;

  /// What `how` chooses from the logits of each row. An engine that chooses by itself gives the same tokens.
  virtual std::vector<result<sampled_token>> sample(std::span<const sample_row> rows, sampler& how);

  /// Runs the MTP module over the groups; returns one greedy draft per group (-1 where none was wanted).
  virtual result<std::vector<token_id>> draft(std::span<const draft_group> groups, expert_client& experts) = 0;
};

} // namespace troupe::exec
