// One request inside a kv_cache: its tokens, and how much of them the cache holds.
// Invariant: `tokens` is the truth; pages, `computed` and `draft` can be thrown away at any time and made again from
// it.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/kv/page_table.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace troupe::sched {

struct sequence {
  request_id id;
  sampling_params sampling;
  int priority = 0;
  std::uint64_t arrival = 0; ///< counts admitted requests: the tie-breaker of every decision
  time_point arrived;
  std::optional<time_point> started; ///< when its first step began

  std::vector<token_id> tokens; ///< prompt, then output
  std::int32_t prompt_size = 0;
  std::int32_t computed = 0; ///< positions [0, computed) are in the pages; at most tokens.size() - 1 between steps
  token_id draft = -1;       ///< the MTP module's guess of tokens[tokens.size()], or -1
  std::int32_t prompt_reported = 1; ///< next prompt position whose log probability is owed (prompt_logprobs)
  kv::page_table pages;

  std::int32_t size() const { return static_cast<std::int32_t>(tokens.size()); }
  std::int32_t output_size() const { return size() - prompt_size; }
  std::span<const token_id> prompt() const { return {tokens.data(), static_cast<std::size_t>(prompt_size)}; }
  std::span<const token_id> output() const { return std::span(tokens).subspan(static_cast<std::size_t>(prompt_size)); }
  /// Only the last token has no KV yet.
  bool decoding() const { return computed + 1 == size(); }
  bool owes_prompt_logprobs() const { return sampling.prompt_logprobs && prompt_reported < prompt_size; }
};

} // namespace troupe::sched
