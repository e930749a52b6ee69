// Frequencies and angles in float32 as transformers computes them (model-spec.md 5.1-5.3); blend ends in double.
#include "kernels/cpu/rope.hpp"

#include "kernels/cpu/check.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace troupe::kernels {
namespace {

/// g(s, m) of 5.3.
double mscale_of(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

/// Channel pair (fractional) that turns `rotations` times over the original context.
double pair_with_rotations(const rope_config& c, double rotations) {
  const auto context = static_cast<double>(c.yarn->original_max_position);
  return static_cast<double>(c.dim) * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.base));
}

float attention_factor_of(const rope_config& c) {
  if (!c.yarn) return 1;
  const auto& y = *c.yarn;
  if (y.attention_factor) return *y.attention_factor;
  if (y.mscale != 0 && y.mscale_all_dim != 0)
    return static_cast<float>(mscale_of(y.factor, y.mscale) / mscale_of(y.factor, y.mscale_all_dim));
  return static_cast<float>(mscale_of(y.factor, 1));
}

} // namespace

float softmax_scale(const rope_config& config, std::int64_t qk_head_dim) {
  const double scale = 1 / std::sqrt(static_cast<double>(qk_head_dim));
  if (!config.yarn || config.yarn->mscale_all_dim == 0) return static_cast<float>(scale);
  const double g = mscale_of(config.yarn->factor, config.yarn->mscale_all_dim);
  return static_cast<float>(scale * g * g);
}

rope::rope(const rope_config& config) : config_(config), attention_factor_(attention_factor_of(config)) {
  check(config.dim % 2 == 0, "rotary channels come in pairs");
  const auto pairs = config.dim / 2;
  for (std::int64_t i = 0; i < pairs; ++i)
    inverse_frequencies_.push_back(1.0f /
                                   std::pow(config.base, static_cast<float>(2 * i) / static_cast<float>(config.dim)));
  if (!config.yarn) return;

  double low = pair_with_rotations(config, config.yarn->beta_fast);
  double high = pair_with_rotations(config, config.yarn->beta_slow);
  if (config.yarn->truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.dim - 1));
  if (low == high) high += 0.001;
  for (std::int64_t i = 0; i < pairs; ++i) {
    const auto ramp = std::clamp(static_cast<float>((static_cast<double>(i) - low) / (high - low)), 0.0f, 1.0f);
    auto& f = inverse_frequencies_[static_cast<std::size_t>(i)];
    f = f / config.yarn->factor * ramp + f * (1.0f - ramp);
  }
}

void rope::angles(std::int64_t position, float* cos, float* sin) const {
  for (std::size_t i = 0; i < inverse_frequencies_.size(); ++i) {
    const float angle = static_cast<float>(position) * inverse_frequencies_[i];
    cos[i] = std::cos(angle) * attention_factor_;
    sin[i] = std::sin(angle) * attention_factor_;
  }
}

void rope::rotate(float* x, const float* cos, const float* sin) const {
  const auto pairs = config_.dim / 2;
  const std::int64_t step = config_.interleaved ? 2 : 1, distance = config_.interleaved ? 1 : pairs;
  for (std::int64_t i = 0; i < pairs; ++i) {
    float& a = x[i * step];
    float& b = x[i * step + distance];
    const float real = a * cos[i] - b * sin[i];
    b = b * cos[i] + a * sin[i];
    a = real;
  }
}

} // namespace troupe::kernels
