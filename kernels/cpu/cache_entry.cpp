// The cached entry of a token: written in the format of the cache, read as activations.
#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/mla_lanes.hpp"

#include <array>
#include <cmath>
#include <cstring>

namespace troupe::kernels {
namespace {

/// Where the parts of a fp8_ds_mla entry lie.
template <class Byte>
struct code_entry {
  Byte *codes, *scales, *rope;
  code_entry(const mla_shape& shape, Byte* entry)
      : codes(entry), scales(codes + shape.latent), rope(scales + shape.latent / cache_group * 4) {}
};

void write_codes(const float* x, std::byte* codes, std::byte* scale) {
  float peak = 0;
  for (std::int64_t i = 0; i < cache_group; ++i)
    if (std::isfinite(x[i])) peak = std::max(peak, std::abs(x[i]));
  const int exponent = cache_scale_exponent(peak);
  const float inverse = std::ldexp(1.0f, -exponent), value = std::ldexp(1.0f, exponent);
  for (std::int64_t i = 0; i < cache_group; ++i) codes[i] = std::byte{float_to_f8_e4m3(x[i] * inverse)};
  std::memcpy(scale, &value, sizeof(value));
}

const std::array<float, 256>& values_of_codes() {
  static const auto table = [] {
    std::array<float, 256> values;
    for (std::size_t code = 0; code < values.size(); ++code)
      values[code] = f8_e4m3_to_float(static_cast<std::uint8_t>(code));
    return values;
  }();
  return table;
}

/// The channels of a group; exact in bf16 too while scales are powers of two.
void read_codes(const std::byte* codes, const std::byte* scale, std::int64_t element_bytes, std::byte* to) {
  const auto& table = values_of_codes();
  float factor, x[cache_group];
  std::memcpy(&factor, scale, sizeof(factor));
  for (std::int64_t i = 0; i < cache_group; ++i) x[i] = table[std::to_integer<std::uint8_t>(codes[i])] * factor;
  if (element_bytes == 2)
    to_bf16(x, reinterpret_cast<std::uint16_t*>(to), cache_group);
  else
    std::memcpy(to, x, sizeof(x));
}

/// bf16 as activations.
void read_bf16(const std::byte* from, std::int64_t count, std::int64_t element_bytes, std::byte* to) {
  if (element_bytes == 2)
    std::memcpy(to, from, count * 2);
  else
    from_bf16(reinterpret_cast<const std::uint16_t*>(from), reinterpret_cast<float*>(to), count);
}

} // namespace

std::int64_t cache_entry_bytes(const mla_shape& shape, cache_type type) {
  return cache_entry_bytes(type.format, shape.latent, shape.rope, type.compute == compute_type::bfloat16 ? 2 : 4);
}

void write_cache_entry(const mla_shape& shape, cache_type type, std::byte* pool, std::int64_t page,
                       std::int64_t position, const float* latent, const float* rope) {
  const auto entry_bytes = cache_entry_bytes(shape, type);
  auto* to = pool + (page * cache_page_tokens + position % cache_page_tokens) * entry_bytes;
  if (type.format == cache_format::fp8_ds_mla) {
    const code_entry entry(shape, to);
    for (std::int64_t g = 0; g < shape.latent / cache_group; ++g)
      write_codes(latent + g * cache_group, entry.codes + g * cache_group, entry.scales + g * 4);
    to_bf16(rope, reinterpret_cast<std::uint16_t*>(entry.rope), shape.rope);
  } else if (type.compute == compute_type::float32) {
    std::memcpy(to, latent, shape.latent * sizeof(float));
    std::memcpy(to + shape.latent * sizeof(float), rope, shape.rope * sizeof(float));
  } else {
    auto* bits = reinterpret_cast<std::uint16_t*>(to);
    to_bf16(latent, bits, shape.latent);
    to_bf16(rope, bits + shape.latent, shape.rope);
  }
}

void read_cache_entry(const attention_pass& pass, const std::byte* from, std::byte* to) {
  const auto& shape = pass.shape;
  if (pass.format == cache_format::fp8_ds_mla) {
    const code_entry entry(shape, from);
    for (std::int64_t g = 0; g < shape.latent / cache_group; ++g)
      read_codes(entry.codes + g * cache_group, entry.scales + g * 4, pass.element_bytes,
                 to + g * cache_group * pass.element_bytes);
    read_bf16(entry.rope, shape.rope, pass.element_bytes, to + shape.latent * pass.element_bytes);
  } else if (pass.t.compute == compute_type::float32) {
    std::memcpy(to, from, shape.entry() * sizeof(float));
  } else {
    read_bf16(from, shape.entry(), pass.element_bytes, to);
  }
}

} // namespace troupe::kernels
