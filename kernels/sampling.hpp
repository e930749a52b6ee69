// What choosing a token computes, so that a CPU and a GPU choose the same one, bit for bit: single IEEE operations on
// scores, and 64-bit integers for everything that is summed or compared with a sum, so that no order matters.
//
// Math      weight = 2^40 exp((score - best) / temperature), rounded down; sums, shares and draws of weights are exact
// Exactness a weight is off by 2^-26 of itself and 2^-40 of the best one's, and by 2^-22 of itself for every nat below
//           the best (roundings of fp32); it never grows while the score falls; the best token has 2^40
// Contract  the host's compiler contracts nothing (-ffp-contract=off, cmake/troupe_toolchain.cmake)
#pragma once

#include "kernels/host_device.hpp"

#include <cstdint>
#include <cstring>

namespace troupe::kernels {

/// How one token is drawn, in the order of runtime/exec/sampler.hpp. Fractions are of 2^64.
struct token_draw {
  float inverse_temperature = 0; ///< 0: the best token, the lowest id of equals
  std::int32_t top_k = 0;        ///< 0: off
  std::uint64_t top_p = 0;       ///< 0: off
  std::uint64_t weight_min = 0;  ///< min_p: lighter tokens leave; at most weight_of_best
  std::uint64_t uniform = 0;     ///< where in the mass the token is
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
};

/// What happens to a token's score first. A list of them has each token once.
struct score_edit {
  std::int32_t token = 0;
  std::int32_t uses = 0; ///< in the output: 0 if it is in the prompt only; `forbidden`: it may not be chosen
};
inline constexpr std::int32_t forbidden = -1;

inline constexpr std::uint64_t weight_of_best = std::uint64_t{1} << 40;
/// So many weights have a sum below 2^64.
inline constexpr std::int32_t vocab_size_max = (1 << 24) - 1;

namespace exact {

#ifdef __CUDA_ARCH__
#define TROUPE_EITHER(on_device, on_host) (on_device)
#else
#define TROUPE_EITHER(on_device, on_host) (on_host)
#endif
TROUPE_HOST_DEVICE inline float product(float a, float b) { return TROUPE_EITHER(__fmul_rn(a, b), a * b); }
TROUPE_HOST_DEVICE inline float quotient(float a, float b) { return TROUPE_EITHER(__fdiv_rn(a, b), a / b); }
TROUPE_HOST_DEVICE inline float sum(float a, float b) { return TROUPE_EITHER(__fadd_rn(a, b), a + b); }
TROUPE_HOST_DEVICE inline std::uint32_t high_product(std::uint32_t a, std::uint32_t b) {
  return TROUPE_EITHER(__umulhi(a, b), static_cast<std::uint32_t>(std::uint64_t{a} * b >> 32));
}
/// Terms of inverse_power(), of 2^32.
inline constexpr std::uint64_t power_terms[] = {0x4c7a5ull << 32,   0x2be180ull << 32,   0x13b1948ull << 32,
                                                0x71ac52dull << 32, 0x1ebfbdcfull << 32, 0x58b90c05ull << 32};
#ifdef __CUDACC__
/// A product adds one out of constant memory in passing; an immediate, which `const` would make of it, takes moves.
static __constant__ std::uint64_t device_power_terms[] = {power_terms[0], power_terms[1], power_terms[2],
                                                          power_terms[3], power_terms[4], power_terms[5]};
#endif
/// And the i-th term.
TROUPE_HOST_DEVICE inline std::uint32_t high_product(std::uint32_t a, std::uint32_t b, int i) {
  return static_cast<std::uint32_t>((std::uint64_t{a} * b + TROUPE_EITHER(device_power_terms, power_terms)[i]) >> 32);
}
/// Of x >= 0; at most 2^32 - 1.
TROUPE_HOST_DEVICE inline std::uint32_t truncated(float x) {
  return TROUPE_EITHER(__float2uint_rz(x), x < 0x1p32f ? static_cast<std::uint32_t>(x) : ~std::uint32_t{0});
}
#undef TROUPE_EITHER

__extension__ using wide = unsigned __int128;
TROUPE_HOST_DEVICE inline std::uint64_t high_product(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint64_t>(static_cast<wide>(a) * b >> 64);
}

} // namespace exact

/// False for NaN, too.
TROUPE_HOST_DEVICE inline bool is_score(float x) { return x < __builtin_huge_valf(); }

TROUPE_HOST_DEVICE inline float edited(float score, std::int32_t uses, const token_draw& draw) {
  if (uses == forbidden) return -__builtin_huge_valf();
  score = score < 0 ? exact::product(score, draw.repetition_penalty) : exact::quotient(score, draw.repetition_penalty);
  if (uses == 0) return score;
  const float added = exact::product(draw.frequency_penalty, static_cast<float>(uses));
  return exact::sum(score, -exact::sum(draw.presence_penalty, added));
}

/// Ascends with the score; both zeros are equal. For scores that are not NaN.
TROUPE_HOST_DEVICE inline std::uint32_t order_of(float score) {
  std::uint32_t bits;
  score = exact::sum(score, 0.0f);
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
TROUPE_HOST_DEVICE inline float score_of(std::uint32_t order) {
  const std::uint32_t bits = order >> 31 ? order & 0x7fffffffu : ~order;
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

/// 2^32 * 2^-f for f of 2^32, as 2^31 * 2^g with g = 1 - f: a polynomial that is exact at both ends, where octaves
/// meet, and off by less than 8 between them.
TROUPE_HOST_DEVICE inline std::uint64_t inverse_power(std::uint32_t f) {
  const std::uint32_t g = ~f;
  std::uint32_t sum = 0xae99u;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < 6; ++i) sum = exact::high_product(sum, g, i);
  return std::uint64_t{exact::high_product(sum, g)} + 0x80000000u;
}

/// How far a score is below `best`, which is finite and at least as high: 2^27 a nat, rounded down. 32 nats and more
/// are all ones.
TROUPE_HOST_DEVICE inline std::uint32_t distance_of(float score, float best, const token_draw& draw) {
  return exact::truncated(exact::product(exact::product(exact::sum(best, -score), draw.inverse_temperature), 0x1p27f));
}
/// 0 where less than 2^-40 of the best one's is left.
TROUPE_HOST_DEVICE inline std::uint64_t weight_at(std::uint32_t distance) {
  const std::uint64_t octaves = std::uint64_t{distance} * 0xb8aa3b29u; // log2(e) of 2^31, so of 2^58
  return inverse_power(static_cast<std::uint32_t>(octaves >> 26)) << 8 >> (octaves >> 58);
}
TROUPE_HOST_DEVICE inline std::uint64_t weight_of(float score, float best, const token_draw& draw) {
  return weight_at(distance_of(score, best, draw));
}

/// fraction * mass / 2^64, rounded down: a draw that is below the mass.
TROUPE_HOST_DEVICE inline std::uint64_t share_of(std::uint64_t mass, std::uint64_t fraction) {
  return exact::high_product(mass, fraction);
}

/// A token stays while the mass of better ones is below this much of all: top-p rounded up, and the best one stays.
TROUPE_HOST_DEVICE inline std::uint64_t mass_wanted(std::uint64_t mass, std::uint64_t top_p) {
  const std::uint64_t share = exact::high_product(mass, top_p) + (mass * top_p != 0);
  return share > 0 ? share : 1;
}

/// Of at most `count` tokens with at least `mass`, those lighter than this have less together than top-p leaves over:
/// none of them stays.
TROUPE_HOST_DEVICE inline std::uint64_t light_below(std::uint64_t mass, std::uint64_t top_p, std::uint64_t count) {
  return (mass - mass_wanted(mass, top_p)) / count;
}

/// How many tokens of `weight`, the lowest ids first, stay when better ones have `wanted` less than what is wanted.
TROUPE_HOST_DEVICE inline std::uint64_t ties_wanted(std::uint64_t wanted, std::uint64_t weight) {
  return (wanted + weight - 1) / weight;
}

} // namespace troupe::kernels
