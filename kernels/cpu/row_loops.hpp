// The row operations for any vector width: products and sums are rounded apart, and the sixteen partial sums of a norm
// are spelled out, so that no compiler and no width may change their order.
#pragma once

#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/simd.hpp"

namespace troupe::kernels {
namespace {

constexpr std::int64_t lanes = 16;

/// Calls fn(first element) for whole vectors of [0, n), and returns how many elements those cover.
template <class Fn>
inline std::int64_t for_vectors(std::int64_t n, Fn fn) {
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) fn(i);
  return i;
}

/// The first `count` < 16 lanes from and to memory; the others are zero and stay unwritten.
template <class T>
struct padded {
  T values[lanes]{};
  padded() = default;
  padded(const T* from, std::int64_t count) {
    for (std::int64_t l = 0; l < count; ++l) values[l] = from[l];
  }
  void copy_to(T* to, std::int64_t count) const {
    for (std::int64_t l = 0; l < count; ++l) to[l] = values[l];
  }
};

inline void to_bf16_row(const float* from, std::uint16_t* to, std::int64_t count) {
  const auto done =
      for_vectors(count, [&](std::int64_t i) { store_high_halves(to + i, round_to_bf16(load(from + i))); });
  if (done == count) return;
  padded<std::uint16_t> last;
  store_high_halves(last.values, round_to_bf16(load(padded(from + done, count - done).values)));
  last.copy_to(to + done, count - done);
}

inline void to_bf16_tiles_row(const float* from, std::int64_t tiles, std::byte* to, std::int64_t tile_bytes) {
  for (std::int64_t t = 0; t < tiles; ++t, from += 2 * lanes, to += tile_bytes) {
    auto* bits = reinterpret_cast<std::uint16_t*>(to);
    store_high_halves(bits, round_to_bf16(load(from)));
    store_high_halves(bits + lanes, round_to_bf16(load(from + lanes)));
  }
}

inline void from_bf16_row(const std::uint16_t* from, float* to, std::int64_t count) {
  const auto done = for_vectors(count, [&](std::int64_t i) { store(to + i, load_bf16(from + i)); });
  if (done == count) return;
  padded<float> last;
  store(last.values, load_bf16(padded(from + done, count - done).values));
  last.copy_to(to + done, count - done);
}

inline void round_row(const float* from, float* to, std::int64_t count) {
  const auto done = for_vectors(count, [&](std::int64_t i) { store(to + i, round_to_bf16(load(from + i))); });
  if (done == count) return;
  padded last(from + done, count - done);
  store(last.values, round_to_bf16(load(last.values)));
  last.copy_to(to + done, count - done);
}

inline void add_row(const float* x, std::int64_t n, float* y) {
  const auto done = for_vectors(n, [&](std::int64_t i) { store(y + i, load(y + i) + load(x + i)); });
  for (auto i = done; i < n; ++i) y[i] += x[i];
}

inline void add_scaled_row(const float* x, float factor, std::int64_t n, float* y) {
  const auto factors = broadcast(factor);
  const auto done = for_vectors(n, [&](std::int64_t i) { store(y + i, load(y + i) + factors * load(x + i)); });
  for (auto i = done; i < n; ++i) y[i] += factor * x[i];
}

/// Lane l takes elements l, l + 16, ...; lanes are then added in pairs.
inline float sum_of_squares_row(const float* x, std::int64_t n) {
  auto partial = broadcast(0.0f);
  const auto done = for_vectors(n, [&](std::int64_t i) { partial = partial + load(x + i) * load(x + i); });
  float sums[lanes];
  store(sums, partial);
  for (std::int64_t l = 0; done + l < n; ++l) sums[l] += x[done + l] * x[done + l];
  for (auto width = lanes / 2; width > 0; width /= 2)
    for (std::int64_t l = 0; l < width; ++l) sums[l] += sums[l + width];
  return sums[0];
}

inline void scale_row(const float* x, const float* weight, float factor, std::int64_t n, float* y) {
  const auto factors = broadcast(factor);
  const auto done = for_vectors(n, [&](std::int64_t i) { store(y + i, load(weight + i) * (load(x + i) * factors)); });
  for (auto i = done; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

constexpr row_kernels row_kernels_of_this_file{to_bf16_row, to_bf16_tiles_row, from_bf16_row,      round_row,
                                               add_row,     add_scaled_row,    sum_of_squares_row, scale_row};

} // namespace
} // namespace troupe::kernels
