// Tokens shuffled into the slots of experts, for tests of grouped products.
#pragma once

#include "kernels/cuda/grouped_ffn.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace troupe::test {

/// One expert a token: every slot is distinct. `rows` says how many slots each expert uses.
struct random_slots {
  std::vector<int> rows, token_of, slot_of;
  std::vector<float> weights;
  int tokens;

  random_slots(const cuda::ffn_shape& shape, const std::vector<int>& counts, std::mt19937& random)
      : rows(counts), token_of(std::size_t(shape.experts) * shape.rows_max, 0),
        tokens(std::accumulate(rows.begin(), rows.end(), 0)) {
    slot_of.resize(tokens);
    std::vector<int> order(tokens);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (int e = 0, next = 0; e < shape.experts; ++e)
      for (int r = 0; r < rows[e]; ++r, ++next) {
        token_of[e * shape.rows_max + r] = order[next];
        slot_of[order[next]] = e * shape.rows_max + r;
      }
    weights.resize(tokens);
    for (auto& w : weights) w = std::uniform_real_distribution<float>(0.1f, 1.0f)(random);
  }
};

} // namespace troupe::test
