// Fresh randomness for property tests; the printed seed replays the run.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <vector>

namespace troupe::testing {

/// TROUPE_SEED if set, else a new one; printed.
inline std::uint64_t fresh_seed() {
  const char* fixed = std::getenv("TROUPE_SEED");
  const auto seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  std::cout << "TROUPE_SEED=" << seed << std::endl;
  return seed;
}

/// Uniform in [low, high].
inline int pick(std::mt19937_64& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

inline std::vector<token_id> random_tokens(std::mt19937_64& random, int count, int vocab_size) {
  std::vector<token_id> tokens(static_cast<std::size_t>(count));
  for (auto& t : tokens) t = pick(random, 0, vocab_size - 1);
  return tokens;
}

} // namespace troupe::testing
