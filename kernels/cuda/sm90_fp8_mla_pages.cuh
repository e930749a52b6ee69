// The second producer of Hopper's MLA decode: pages of 656-byte entries, widened to the bf16 boxes that the consumers of
// sm90_bf16_mla_decode.cu read. It differs from the first only in where boxes come from, so both formats share softmax
// and products.
//
// Bytes     656 a position instead of 1152: 0.57 of the time where memory is the limit
// Work      3 instructions a channel, 5/6 of them integer, which a multiprocessor issues at half rate: about 1300 cycles
//           a page for four warps, beside 2200 that its products take on 64 rows
// Mapping   four warps, each widens 16 of a page's 64 positions. Shared memory is full of bf16 tiles, so what is on its
//           way waits in registers: two half pages (256 of the 512 channels) are fetched ahead, in the order in which
//           the consumers free halves. Rotated channels are bf16 and come by tensor map
#pragma once

#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/mla_decode.hpp"

namespace troupe::cuda::fp8_pages {

inline constexpr int warps = 4;
inline constexpr int entry_bytes = mla_entry_bytes(cache_format::fp8_ds_mla);
inline constexpr int rope_at = entry_bytes - 2 * (mla_entry - mla_latent);
inline constexpr int warp_positions = mla_page / warps;
inline constexpr int half_boxes = 4;      // of 64 channels
inline constexpr int box_line_bytes = 128; // of one position

/// A warp's part of half a page. A lane holds 16 channels of every second position, and one of the 32 scales.
struct half_page {
  uint4 codes[warp_positions / 2];
  float scale;
};

// Eight lanes take four pieces each of an even and of an odd position, whose swizzled chunks differ in their lowest
// bit: stores meet no bank twice.
__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int lane_piece() { return lane() % 4; }      // of a box
__device__ inline int lane_position() { return lane() / 4 % 2; } // of a pair
__device__ inline int lane_box() { return lane() / 8; }         // of a half
__device__ inline int warp_position() { return threadIdx.x / 32 % warps * warp_positions; }

__device__ inline void fetch(half_page& h, const std::uint8_t* cache, int page, int half) {
  const auto* first = cache + (std::size_t(page) * mla_page + warp_position()) * entry_bytes;
  const auto* from =
      first + lane_position() * entry_bytes + (half * half_boxes + lane_box()) * 64 + lane_piece() * 16;
#pragma unroll
  for (int i = 0; i < warp_positions / 2; ++i)
    h.codes[i] = __ldg(reinterpret_cast<const uint4*>(from + 2 * i * entry_bytes));
  h.scale = __ldg(reinterpret_cast<const float*>(first + lane() / 2 * entry_bytes + mla_latent) + half * 2 + lane() % 2);
}

template <class Page>
__device__ void widen(const half_page& h, Page& page, int half) {
  const std::uint32_t factors = mma::widen_factor(h.scale);
  auto* to = page.box[half * half_boxes + lane_box()] + (warp_position() + lane_position()) * box_line_bytes;
#pragma unroll
  for (int i = 0; i < warp_positions / 2; ++i) {
    const std::uint32_t factor = __shfl_sync(~0u, factors, (2 * i + lane_position()) * 2 + lane() / 16);
    const int chunk = (2 * lane_piece()) ^ (2 * i % 8 + lane_position()); // positions of a warp start at multiples of 8
    auto* line = to + 2 * i * box_line_bytes;
    const auto& c = h.codes[i];
    *reinterpret_cast<uint4*>(line + chunk * 16) = mma::widen(c.x, c.y, factor);
    *reinterpret_cast<uint4*>(line + (chunk ^ 1) * 16) = mma::widen(c.z, c.w, factor);
  }
}

/// Arrivals at a latent box's `full` barrier.
inline constexpr int arrivals = warps;

/// Runs in all threads of the producer warpgroup. `rope` maps the rotated channels of all entries.
template <class Shared>
__device__ void produce(Shared& s, const CUtensorMap* rope, const std::uint8_t* cache, const int* table, int first,
                        int last) {
  const auto page_at = [&](int i) { return table[min(i, last - 1)]; };
  std::uint32_t parity = 1;
  const auto pass_on = [&](const half_page& h, int page, int buffer, int half) {
    ptx::mbarrier_wait(&s.empty[buffer][half], parity);
    auto* full = s.full[buffer];
    constexpr int rope_box = mla_entry / 64 - 1;
    if (half != buffer && threadIdx.x % (warps * 32) == 0) {
      ptx::mbarrier_expect_bytes(&full[rope_box], sizeof(s.page[buffer].box[rope_box]));
      ptx::copy_tile(s.page[buffer].box[rope_box], rope, &full[rope_box], 0, page * mla_page, ptx::evict_first);
    }
    widen(h, s.page[buffer], half);
    ptx::fence_async_proxy();
    __syncwarp();
    if (lane() < half_boxes) ptx::mbarrier_arrive(&full[half * half_boxes + lane()]);
  };

  int now[2] = {page_at(first), page_at(first + 1)};
  half_page even, odd;
  fetch(even, cache, now[0], 0), fetch(odd, cache, now[1], 1);
  for (int page = first; page < last; page += 2, parity ^= 1) {
    const int next[2] = {page_at(page + 2), page_at(page + 3)};
    pass_on(even, now[0], 0, 0), fetch(even, cache, now[0], 1);
    pass_on(odd, now[1], 1, 1), fetch(odd, cache, now[1], 0);
    pass_on(even, now[0], 0, 1), fetch(even, cache, next[0], 0);
    pass_on(odd, now[1], 1, 0), fetch(odd, cache, next[1], 1);
    now[0] = next[0], now[1] = next[1];
  }
}

} // namespace troupe::cuda::fp8_pages
