// The second producer of Hopper's MLA decode: pages of 656-byte entries, widened to the bf16 boxes that the consumers
// of sm90_bf16_mla_decode.cu read. It differs from the first only in where boxes come from, so both formats share
// softmax and products.
//
// Bytes     656 a position instead of 1152: 0.57 of the time where memory is the limit
// Work      2.5 instructions a channel, four of five integer, which a multiprocessor issues at half rate: 1000 cycles a
//           page beside 2200 that its products take on 64 rows
// Mapping   four warps, each widens 16 of a page's 64 positions. Shared memory is full of bf16 tiles, so codes on their
//           way wait in registers: as soon as a piece is widened, the same piece of the next half page (256 of the 512
//           channels) is fetched, in the order in which the consumers free halves. Rotated channels are bf16 and come
//           by tensor map
// Measured  H200, in the same runs as bf16 (305-319, 328, 20.5-20.7, 60.3-61.7 us): 128 x 4096 x 128 heads 391-421,
//           128 x 8192 x 16 378-389, 1 x 4096 x 128 20.8-21.3, 1 x 65536 x 128 70.1-71.8 us. By samples these warps
//           wait 28 % of their time for loads before a half page starts (not explained), 8 % at the fence, 7 % for
//           consumers
// Rejected  two half pages ahead in registers: spilled scales made every load wait (447 us for 128 x 8192 x 16), scales
//           in shared memory 397-425; the page table one pair ahead 393-425;
//           eight warps: ptxas gives 512 threads too few registers for the products
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
inline constexpr int scales = 2 * warp_positions; // of a warp in half a page: one a lane
inline constexpr int half_boxes = 4;              // of 64 channels
inline constexpr int box_line_bytes = 128;        // of one position
static_assert(scales == 32);

/// A warp's part of half a page: a lane holds 16 channels of every second position.
using pieces = uint4[warp_positions / 2];

/// Where a lane works. Eight lanes take four pieces each of an even and of an odd position, whose swizzled chunks
/// differ in their lowest bit: stores meet no bank twice.
struct lane_place {
  int lane = threadIdx.x % 32, warp_position = threadIdx.x / 32 % warps * warp_positions; ///< the warp's first
  __device__ int piece() const { return lane % 4; }                                       ///< of a box
  __device__ int position() const { return lane / 4 % 2; }                                ///< of a pair
  __device__ int box() const { return lane / 8; }                                         ///< of a half
};

/// The lane's first piece of half a page; the next is two entries further.
__device__ inline const uint4* first_piece(const lane_place& at, const std::uint8_t* cache, int page, int half) {
  const auto* entry = cache + (std::size_t(page) * mla_page + at.warp_position + at.position()) * entry_bytes;
  return reinterpret_cast<const uint4*>(entry + (half * half_boxes + at.box()) * 64 + at.piece() * 16);
}
__device__ inline uint4 load_piece(const uint4* first, int i) { return __ldg(first + i * 2 * entry_bytes / 16); }

/// Starts copying the lane's scale of half a page: positions have two.
__device__ inline void fetch_scale(const lane_place& at, float* to, const std::uint8_t* cache, int page, int half) {
  const auto* entry = cache + (std::size_t(page) * mla_page + at.warp_position + at.lane / 2) * entry_bytes;
  ptx::copy_async_4(to, entry + mla_latent + (half * 2 + at.lane % 2) * 4);
}

/// Stores half a page, each piece of which is then replaced by the one from `next` on.
template <class Page>
__device__ void widen(const lane_place& at, pieces& codes, float scale, const uint4* next, Page& page, int half) {
  const std::uint32_t factors = mma::widen_factor(scale);
  // Chunk c of position p lies at chunk c ^ (p % 8): a warp's positions start at multiples of 8, lines at 128 bytes.
  const auto* line = page.box[half * half_boxes + at.box()] + (at.warp_position + at.position()) * box_line_bytes;
  const auto to = ptx::shared_address(line) + ((2 * at.piece()) ^ at.position()) * 16;
#pragma unroll
  for (int i = 0; i < warp_positions / 2; ++i) {
    const std::uint32_t factor = __shfl_sync(~0u, factors, (2 * i + at.position()) * 2 + at.lane / 16);
    const auto chunk = (to ^ (2 * i % 8 * 16)) + 2 * i * box_line_bytes;
    ptx::store_shared(chunk, mma::widen(codes[i].x, codes[i].y, factor));
    ptx::store_shared(chunk ^ 16, mma::widen(codes[i].z, codes[i].w, factor));
    codes[i] = load_piece(next, i);
  }
}

/// Pages in the two buffers.
struct pages {
  int first, second;
  __device__ int in(int buffer) const { return buffer ? second : first; }
};

/// Runs in all producer threads. `rope` maps the rotated channels of all entries; halves of a pair of pages are filled
/// in the order in which consumers free them, the i-th being Freed(i).buffer and .half. s.scales has room for two times
/// every lane's scale.
template <class Freed, class Shared>
__device__ void produce(Shared& s, const CUtensorMap* rope, const std::uint8_t* cache, const int* table, int first,
                        int last) {
  if (first >= last) return;
  const lane_place at;
  const auto page_at = [&](int i) { return table[min(i, last - 1)]; };
  auto* scale = &s.scales[0][at.warp_position * 2 + at.lane];
  pages now{page_at(first), page_at(first + 1)}, next{page_at(first + 2), page_at(first + 3)};
  pieces codes;
  {
    const auto* from = first_piece(at, cache, now.in(Freed(0).buffer), Freed(0).half);
    for (int i = 0; i < warp_positions / 2; ++i) codes[i] = load_piece(from, i);
    fetch_scale(at, scale, cache, now.in(Freed(0).buffer), Freed(0).half);
  }
  std::uint32_t parity = 1;
  for (int page = first; page < last; page += 2, parity ^= 1) {
    const pages later{page_at(page + 4), page_at(page + 5)}; // a table entry has a whole pair's time to arrive
#pragma unroll 1
    for (int step = 0; step < 4; ++step) {
      const Freed here(step), ahead((step + 1) % 4);
      const int page_ahead = step == 3 ? next.in(ahead.buffer) : now.in(ahead.buffer);
      auto* full = s.full[here.buffer];
      ptx::wait_copies(); // of the scale
      const float current = scale[step % 2 * scales * warps];
      fetch_scale(at, scale + (step + 1) % 2 * scales * warps, cache, page_ahead, ahead.half);
      ptx::mbarrier_wait(&s.empty[here.buffer][here.half], parity);
      constexpr int rope_box = mla_entry / 64 - 1;
      if (here.half != here.buffer && threadIdx.x % (warps * 32) == 0) {
        ptx::mbarrier_expect_bytes(&full[rope_box], sizeof(s.page[0].box[rope_box]));
        ptx::copy_tile(s.page[here.buffer].box[rope_box], rope, &full[rope_box], 0, now.in(here.buffer) * mla_page,
                       ptx::evict_first);
      }
      widen(at, codes, current, first_piece(at, cache, page_ahead, ahead.half), s.page[here.buffer], here.half);
      ptx::fence_async_proxy();
      __syncwarp();
      if (at.lane < half_boxes) ptx::mbarrier_arrive(&full[here.half * half_boxes + at.lane]);
    }
    now = next, next = later;
  }
}

} // namespace troupe::cuda::fp8_pages
