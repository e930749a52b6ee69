// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator, so that a draw is a pure function of its key.
#pragma once

#include <array>
#include <cstdint>

namespace troupe {

/// What a draw is for. Separate streams never overlap, so that drafting does not shift the target's draws.
enum class draw_stream : std::uint32_t { target = 0, draft = 1, accept = 2, residual = 3, data = 4 };

constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// 64 uniform bits for (seed, position, stream): the only source of randomness in sampling.
constexpr std::uint64_t philox_bits(std::uint64_t seed, std::uint64_t position, draw_stream stream) {
  const auto bits = philox4x32({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                                static_cast<std::uint32_t>(stream), 0},
                               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return std::uint64_t{bits[0]} << 32 | bits[1];
}

/// Uniform in [0, 1) with 24 bits, the first ones of philox_bits.
constexpr float philox_uniform(std::uint64_t seed, std::uint64_t position, draw_stream stream) {
  return static_cast<float>(philox_bits(seed, position, stream) >> 40) * 0x1.0p-24f;
}

} // namespace troupe
