// How one position of one layer lies in the latent cache, and the arithmetic of the 656-byte format: one place, so that
// CPU, GPU and oracle agree bit by bit. Compiles as C++17 for the CUDA kernels.
//
//   fp8_ds_mla   [latent e4m3][one fp32 scale for each 128 of them][rope bf16]: 512 + 16 + 128 = 656 bytes for R1, the
//                format of FlashMLA and vLLM, where 576 bf16 take 1152
//
// A scale is the smallest power of two that brings the group's largest channel within e4m3's 448. e4m3 has an exponent
// of its own, so this costs no precision against amax / 448, and what is read, code * scale, is exact in bf16: products
// over this cache have the bits of products over a bf16 cache of the values it holds.
#pragma once

#include "kernels/host_device.hpp"

#include <cstdint>
#include <cstring>

namespace troupe::kernels {

enum class cache_format : std::uint8_t {
  plain,      ///< all channels in what the engine computes in: bf16, on a CPU maybe fp32
  fp8_ds_mla, ///< `latent` is a multiple of cache_group
};

inline constexpr std::int64_t cache_group = 128; ///< latent channels that share a scale

/// Bytes of one entry, `element_bytes` being those of the plain format's elements. Pages, pools, plans and benches all
/// go by this. Pure.
TROUPE_HOST_DEVICE constexpr std::int64_t cache_entry_bytes(cache_format format, std::int64_t latent, std::int64_t rope,
                                                            std::int64_t element_bytes = 2) {
  return format == cache_format::plain ? (latent + rope) * element_bytes : latent + latent / cache_group * 4 + rope * 2;
}

/// A group's scale follows its largest finite magnitude, kept within these: zeros have a scale too, and readers may
/// multiply it by 2^120.
inline constexpr float cache_peak_min = 0x1p-13f, cache_peak_max = 448 * 128.0f;

/// Exponent k of a group's scale 2^k, from the largest finite magnitude in it. A channel x becomes the e4m3 number
/// nearest to x / 2^k, ties to even, at most 448; what is infinite or no number becomes NaN (0x7F). Pure.
TROUPE_HOST_DEVICE inline int cache_scale_exponent(float peak) {
  const float within = peak < cache_peak_min ? cache_peak_min : peak > cache_peak_max ? cache_peak_max : peak;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &within, sizeof(bits));
  constexpr std::uint32_t carry = 0x1FFFFF; // into the exponent from 1.75 on: 448 is 1.75 * 2^8
  return static_cast<int>((bits + carry) >> 23) - 127 - 8;
}

} // namespace troupe::kernels
