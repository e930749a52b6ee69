// The second producer of Hopper's MLA decode: pages of 656-byte entries, widened to the bf16 boxes that the consumers
// of sm90_bf16_mla_decode.cu read. It differs from the first only in where boxes come from, so both formats share
// softmax and products.
//
// Bytes     656 a position instead of 1152: 0.57 of the time where memory is the limit
// Work      3 instructions a channel, 5/6 of them integer, which a multiprocessor issues at half rate: about 1300
// cycles
//           a page for four warps, beside 2200 that its products take on 64 rows
// Mapping   four warps, each widens 16 of a page's 64 positions. Shared memory is full of bf16 tiles, so what is on its
//           way waits in registers: two half pages (256 of the 512 channels) are fetched ahead, in the order in which
//           the consumers free halves. Rotated channels are bf16 and come by tensor map
#pragma once

#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/warp_copy.cuh"
#include "kernels/cuda/mla_decode.hpp"

namespace troupe::cuda::fp8_pages {

inline constexpr int warps = 4;
inline constexpr int entry_bytes = mla_entry_bytes(cache_format::fp8_ds_mla);
inline constexpr int rope_at = entry_bytes - 2 * (mla_entry - mla_latent);
inline constexpr int warp_positions = mla_page / warps;
inline constexpr int half_boxes = 4;       // of 64 channels
inline constexpr int box_line_bytes = 128; // of one position

/// A warp's part of half a page: a lane holds 16 channels of every second position.
struct half_page {
  uint4 codes[warp_positions / 2];
};

/// Where a lane works. Eight lanes take four pieces each of an even and of an odd position, whose swizzled chunks
/// differ in their lowest bit: stores meet no bank twice. Found anew for every half page: kept around the loop it would
/// cost registers that hold codes.
struct lane_place {
  int lane, warp_position; ///< first position of the warp
  __device__ lane_place() {
    const auto thread = ptx::opaque(threadIdx.x);
    lane = thread % 32, warp_position = thread / 32 % warps * warp_positions;
  }
  __device__ int piece() const { return lane % 4; }        ///< of a box
  __device__ int position() const { return lane / 4 % 2; } ///< of a pair
  __device__ int box() const { return lane / 8; }          ///< of a half
};

/// `scale` is where one of the warp's 32 scales shall lie.
__device__ inline void fetch(half_page& h, float* scale, const std::uint8_t* cache, int page, int half) {
  const lane_place at;
  const auto* first = cache + (std::size_t(page) * mla_page + at.warp_position) * entry_bytes;
  const auto* from = first + (at.position() * entry_bytes + (half * half_boxes + at.box()) * 64 + at.piece() * 16);
#pragma unroll
  for (int i = 0; i < warp_positions / 2; ++i)
    h.codes[i] = __ldg(reinterpret_cast<const uint4*>(from + 2 * i * entry_bytes));
  ptx::copy_async_4(scale, first + at.lane / 2 * entry_bytes + mla_latent + (half * 2 + at.lane % 2) * 4);
  ptx::commit_copies();
}

template <class Page>
__device__ void widen(const half_page& h, float scale, Page& page, int half) {
  const lane_place at;
  const std::uint32_t factors = mma::widen_factor(scale);
  const int scale_lane = at.position() * 2 + at.lane / 16;
  // Chunk c of position p lies at chunk c ^ (p % 8): a warp's positions start at multiples of 8, lines at 128 bytes.
  const auto* line = page.box[half * half_boxes + at.box()] + (at.warp_position + at.position()) * box_line_bytes;
  const auto to = ptx::shared_address(line) + ((2 * at.piece()) ^ at.position()) * 16;
#pragma unroll
  for (int i = 0; i < warp_positions / 2; ++i) {
    const std::uint32_t factor = __shfl_sync(~0u, factors, scale_lane + 4 * i);
    const auto& c = h.codes[i];
    const auto chunk = (to ^ (2 * i % 8 * 16)) + 2 * i * box_line_bytes;
    ptx::store_shared(chunk, mma::widen(c.x, c.y, factor));
    ptx::store_shared(chunk ^ 16, mma::widen(c.z, c.w, factor));
  }
}

/// Pages in the two buffers.
struct pair {
  int first, second;
  __device__ int of(int buffer) const { return buffer ? second : first; }
};

/// Arrivals at a latent box's `full` barrier.
inline constexpr int arrivals = warps;

/// Runs in all threads of the producer warpgroup, each with two scales of its own in s.scales. `rope` maps the rotated channels of all entries; halves of a pair of
/// pages are filled in the order in which consumers free them, the i-th being Freed(i).buffer and .half.
template <class Freed, class Shared>
__device__ void produce(Shared& s, const CUtensorMap* rope, const std::uint8_t* cache, const int* table, int first,
                        int last) {
  if (first >= last) return;
  const auto page_at = [&](int i) { return table[min(i, last - 1)]; };
  std::uint32_t parity = 1;
  const auto pass_on = [&](const half_page& h, const float* scale, int page, Freed at) {
    ptx::mbarrier_wait(&s.empty[at.buffer][at.half], parity);
    auto* full = s.full[at.buffer];
    constexpr int rope_box = mla_entry / 64 - 1;
    if (at.half != at.buffer && threadIdx.x % (warps * 32) == 0) {
      ptx::mbarrier_expect_bytes(&full[rope_box], sizeof(s.page[0].box[rope_box]));
      ptx::copy_tile(s.page[at.buffer].box[rope_box], rope, &full[rope_box], 0, page * mla_page, ptx::evict_first);
    }
    ptx::wait_copies<1>();
    widen(h, *scale, s.page[at.buffer], at.half);
    ptx::fence_async_proxy();
    __syncwarp();
    if (const int box = threadIdx.x % 32; box < half_boxes) ptx::mbarrier_arrive(&full[at.half * half_boxes + box]);
  };

  pair now{page_at(first), page_at(first + 1)};
  half_page even, odd;
  auto *even_scale = &s.scales[0][threadIdx.x % (warps * 32)], *odd_scale = even_scale + warps * 32;
  fetch(even, even_scale, cache, now.of(Freed(0).buffer), Freed(0).half);
  fetch(odd, odd_scale, cache, now.of(Freed(1).buffer), Freed(1).half);
  for (int page = first; page < last; page += 2, parity ^= 1) {
    const pair next{page_at(page + 2), page_at(page + 3)};
#pragma unroll 1
    for (int step = 0; step < 4; step += 2) {
      const Freed a(step), b(step + 1), a_ahead(step ^ 2), b_ahead((step ^ 2) + 1);
      const auto ahead = [&](int buffer) { return step ? next.of(buffer) : now.of(buffer); };
      pass_on(even, even_scale, now.of(a.buffer), a);
      fetch(even, even_scale, cache, ahead(a_ahead.buffer), a_ahead.half);
      pass_on(odd, odd_scale, now.of(b.buffer), b);
      fetch(odd, odd_scale, cache, ahead(b_ahead.buffer), b_ahead.half);
    }
    now = next;
  }
}

} // namespace troupe::cuda::fp8_pages
