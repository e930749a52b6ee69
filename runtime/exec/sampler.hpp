// Logits to one token. A pure function of (logits, parameters, tokens so far): the draw for position p is Philox keyed
// by (seed, p), so neither batch, restart, preemption nor speculation can change it (ARCHITECTURE.md, contract 2).
//
// Order as in Hugging Face: mask, penalties, temperature, top-k (ties of the k-th stay), top-p (a token stays while the
// mass of better ones is below p; ties lowest id first), min-p, then the inverse CDF over the rest, by id. Weights are
// integers (kernels/sampling.hpp), so that a GPU, which adds them up in another order, draws the same token.
#pragma once

#include "kernels/cpu/sample.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::exec {

struct sampled_token {
  token_id token = -1;
  float logprob = 0;              ///< of the raw logits; 0 unless asked for
  std::vector<token_logprob> top; ///< best first, ties lowest id first
};

/// What holds for every request of a model.
struct sampler_options {
  std::int32_t vocab_size = 0;      ///< the tokenizer's; ids from here on are padding of the embedding, never sampled
  std::vector<token_id> end_tokens; ///< masked before min_tokens
};

/// Errors: bad_input, naming the field that is out of its range.
result<void> validate(const sampling_params& params);

/// Not thread-safe: it keeps scratch buffers.
class sampler {
 public:
  explicit sampler(sampler_options options) : options_(std::move(options)) {}

  /// The token at position `tokens.size()`; `tokens` is the prompt, `prompt_size` long, and the output so far.
  /// Errors: bug for NaN or infinite logits, or where masks leave no token.
  result<sampled_token> sample(std::span<const float> logits, const sampling_params& params,
                               std::span<const token_id> tokens, std::int32_t prompt_size);

  /// The same in the words of the kernels: sample() chooses from the first vocab_size() logits by what this returns and
  /// the edits that it appends, at most one a token.
  kernels::token_draw draw_of(const sampling_params& params, std::span<const token_id> tokens, std::int32_t prompt_size,
                              std::vector<kernels::score_edit>& edits);
  std::int32_t vocab_size() const { return options_.vocab_size; }

  /// `token` under the raw distribution with the `top_count` best candidates, as for `echo`. Errors: as sample().
  result<sampled_token> score(std::span<const float> logits, token_id token, int top_count);

  /// What ends a sequence that has just got `token` as output number `output_size` (1-based).
  finish_reason finish_of(token_id token, const sampling_params& params, std::int32_t output_size) const;

 private:
  void forbid(std::span<const token_id> tokens);
  void count(std::span<const token_id> tokens, std::int32_t prompt_size);

  sampler_options options_;
  kernels::token_sampler chooser_;
  std::vector<kernels::score_edit> edits_;
  std::vector<std::int32_t> uses_; // [vocab], all `unseen` between calls
  std::vector<token_id> seen_;
};

} // namespace troupe::exec
