#include "kernels/ref/cache.hpp"

#include "kernels/tensor_type.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace troupe::kernels::ref {
namespace {

constexpr std::int64_t group = 128;

/// The smallest power of two from 2^-21 to 2^7 that is at least peak / 448, else 2^7.
double scale_of(const float* x) {
  double peak = 0;
  for (std::int64_t i = 0; i < group; ++i)
    if (std::isfinite(x[i])) peak = std::max(peak, std::abs(double{x[i]}));
  double scale = std::exp2(-21);
  while (scale * 448 < peak && scale < 128) scale *= 2;
  return scale;
}

/// The code whose value is nearest to x, the even one of two.
std::uint8_t code_of(double x) {
  if (!std::isfinite(x)) return 0x7f;
  std::uint8_t best = 0;
  for (std::uint8_t code = 1; code < 0x7f; ++code) {
    const double here = std::abs(f8_e4m3_to_float(code) - std::abs(x));
    const double there = std::abs(f8_e4m3_to_float(best) - std::abs(x));
    if (here < there || (here == there && code % 2 == 0)) best = code;
  }
  return std::signbit(x) ? best | 0x80 : best;
}

template <class T>
void append(std::vector<std::uint8_t>& bytes, T value) {
  bytes.resize(bytes.size() + sizeof(T));
  std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
}

} // namespace

std::vector<std::uint8_t> cache_entry(const std::vector<float>& latent, const std::vector<float>& rope) {
  std::vector<std::uint8_t> bytes;
  const auto groups = static_cast<std::int64_t>(latent.size()) / group;
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto* x = latent.data() + g * group;
    const auto scale = scale_of(x);
    for (std::int64_t i = 0; i < group; ++i) bytes.push_back(code_of(x[i] / scale));
  }
  for (std::int64_t g = 0; g < groups; ++g) append(bytes, static_cast<float>(scale_of(latent.data() + g * group)));
  for (const float x : rope) append(bytes, float_to_bf16(x));
  return bytes;
}

std::vector<double> cached_values(const std::vector<std::uint8_t>& entry, std::int64_t latent, std::int64_t rope) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < latent; ++i) {
    float scale = 0;
    std::memcpy(&scale, entry.data() + latent + i / group * 4, sizeof(scale));
    values.push_back(double{f8_e4m3_to_float(entry[i])} * scale);
  }
  for (std::int64_t i = 0; i < rope; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, entry.data() + latent + latent / group * 4 + i * 2, sizeof(bits));
    values.push_back(bf16_to_float(bits));
  }
  return values;
}

} // namespace troupe::kernels::ref
