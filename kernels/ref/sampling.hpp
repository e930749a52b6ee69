// The distribution that a token is drawn from, by the definitions of Hugging Face's processors: one full sort at a
// time, sums in long double.
#pragma once

#include <cstdint>
#include <vector>

namespace troupe::kernels::ref {

struct sampling_rule {
  float temperature = 1; ///< above 0
  int top_k = 0;         ///< 0: off
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
};

/// Probability of every token. `tokens` are the prompt, of `prompt_size`, and the output so far. Penalties are applied
/// in float32, one rounding each, as everywhere.
std::vector<long double> distribution(const std::vector<float>& logits, const sampling_rule& rule,
                                      const std::vector<std::int32_t>& tokens, int prompt_size);

/// The first token whose cumulative probability is above u, which is in [0, 1).
std::int32_t inverse_cdf(const std::vector<long double>& p, long double u);

} // namespace troupe::kernels::ref
