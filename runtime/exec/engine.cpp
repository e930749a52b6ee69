#include "runtime/exec/engine.hpp"

namespace troupe::exec {

std::vector<result<sampled_token>> engine::sample(std::span<const sample_row> rows, sampler& how) {
  std::vector<result<sampled_token>> chosen;
  for (const auto& row : rows)
    chosen.push_back(how.sample(logits(row.logit_row), *row.params, row.tokens, row.prompt_size));
  return chosen;
}

} // namespace troupe::exec
