// The online softmax step for any vector width. Included by files compiled for an instruction set only.
#pragma once

#include "kernels/cpu/attention_rows.hpp"
#include "kernels/cpu/simd.hpp"

#include <limits>

namespace troupe::kernels {
namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

/// Scales and masks the scores of 16 lanes in place; returns the new maximum.
inline f32x16 mask_scores(const softmax_args& a, std::int64_t half) {
  const auto last = load(a.last_position + half * 16);
  const auto scale = broadcast(a.scale);
  auto best = load(a.maximum + half * 16);
  for (std::int64_t p = 0; p < a.count; ++p) {
    float* at = a.scores + p * attention_lanes + half * 16;
    const auto position = broadcast(a.first + static_cast<float>(p));
    const auto score = select_less(last, position, broadcast(nothing), load(at) * scale);
    store(at, score);
    best = max(best, score);
  }
  return best;
}

/// Store is called with (tile, 32 vectors of probabilities) for every 32 positions.
template <class StoreTile>
inline void softmax_lanes(const softmax_args& a, StoreTile store_tile) {
  for (std::int64_t half = 0; half < 2; ++half) {
    const auto best = mask_scores(a, half);
    // A lane that has seen nothing has maximum -inf; a finite stand-in keeps -inf - m away from NaN.
    const auto reference = max(best, broadcast(std::numeric_limits<float>::lowest()));
    const auto factor = exp(load(a.maximum + half * 16) - reference);
    auto sum = load(a.sum + half * 16) * factor;
    for (std::int64_t tile = 0; tile < a.count / 32; ++tile) {
      f32x16 probabilities[32];
      for (std::int64_t p = 0; p < 32; ++p) {
        const auto score = load(a.scores + (tile * 32 + p) * attention_lanes + half * 16);
        probabilities[p] = exp(score - reference);
        sum = sum + probabilities[p];
      }
      store_tile(half, tile, probabilities);
    }
    store(a.maximum + half * 16, best);
    store(a.factor + half * 16, factor);
    store(a.sum + half * 16, sum);
  }
}

/// Probabilities as fp32 [16 lanes][32 positions].
template <class Round>
inline void store_float_tile(const softmax_args& a, std::int64_t half, std::int64_t tile, const f32x16* probabilities,
                             Round round) {
  auto* to = reinterpret_cast<float*>(a.probabilities + half * a.group_bytes) + tile * 16 * 32;
  for (std::int64_t p = 0; p < 32; ++p) {
    float lanes[16];
    store(lanes, probabilities[p]);
    for (std::int64_t lane = 0; lane < 16; ++lane) to[lane * 32 + p] = round(lanes[lane]);
  }
}

inline void softmax_to_floats(const softmax_args& a) {
  softmax_lanes(a, [&](std::int64_t half, std::int64_t tile, const f32x16* p) {
    store_float_tile(a, half, tile, p, [](float v) { return v; });
  });
}

} // namespace
} // namespace troupe::kernels
