// Warp-level matrix products (mma.sync) of the plain kernels, bf16 in, fp32 sums. In the linear kernel's, of 16 weight
// rows x 8 tokens, a lane holds runs of 16 neighbours along K of weight rows lane/4 and lane/4 + 8 and of token lane/4.
// K is thereby permuted alike on both sides, which a dot product does not notice, and every load is 16 bytes.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace troupe::cuda::mma {

/// Accumulators: element i is row lane/4 + 8 (i/2), token lane%4 * 2 + i%2.
using tile = float[4];

/// c [16, 8] += a [16, 16] b [16, 8]. Registers of a: rows lane/4 and + 8 of channels lane%4 * 2 and + 1, then the same
/// rows of channels + 8; of b: those channels of column lane/4, then channels + 8.
__device__ inline void multiply_16(tile& c, std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                                   std::uint32_t b0, std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
               "{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// c += 64 bytes of K (32 bf16 channels of the four lanes of a row) of 16 weight rows times 8 tokens. `low` are rows
/// 0..7, `high` rows 8..15.
__device__ inline void multiply(tile& c, const uint4& low, const uint4& high, const uint4& x) {
  multiply_16(c, low.x, high.x, low.y, high.y, x.x, x.y);
  multiply_16(c, low.z, high.z, low.w, high.w, x.z, x.w);
}

inline constexpr std::uint32_t two_to_120 = 0x7B807B80u; ///< a pair of bf16

/// Two e4m3 codes in the high bytes of 16-bit lanes, as bf16, exactly. Shifted into place they are 2^-120 times their
/// value, subnormals included; the product puts the exponent right. `factor` is a pair of bf16: 2^120, or a scale times
/// that, exact for a power of two.
__device__ inline std::uint32_t widen_pair(std::uint32_t codes, std::uint32_t factor = two_to_120) {
  const std::uint32_t bits = (codes & 0x80008000u) | (codes >> 4 & 0x07F007F0u);
  const auto wide =
      __hmul2(reinterpret_cast<const __nv_bfloat162&>(bits), reinterpret_cast<const __nv_bfloat162&>(factor));
  return reinterpret_cast<const std::uint32_t&>(wide);
}
/// Eight e4m3 codes as eight bf16.
__device__ inline uint4 widen(std::uint32_t first, std::uint32_t second, std::uint32_t factor = two_to_120) {
  return {widen_pair(__byte_perm(first, 0, 0x1404), factor), widen_pair(__byte_perm(first, 0, 0x3424), factor),
          widen_pair(__byte_perm(second, 0, 0x1404), factor), widen_pair(__byte_perm(second, 0, 0x3424), factor)};
}
/// The factor that widens codes with this scale.
__device__ inline std::uint32_t widen_factor(float scale) {
  const auto pair = __float2bfloat162_rn(scale * 0x1p120f);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

} // namespace troupe::cuda::mma
