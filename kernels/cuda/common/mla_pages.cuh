// Shared memory of Hopper's MLA decode, and the threads that fill it: a tile of queries, and pages of the latent cache
// through two buffers, in boxes of 64 columns that the products wait for one by one.
#pragma once

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/mla_decode.hpp"

namespace troupe::cuda::pages {

constexpr int tile_rows = 64;
constexpr int boxes = mla_entry / 64; // of 64 columns; the last is the rotated part
constexpr int box_bytes = tile_rows * 128;
constexpr int consumer_threads = 256;
constexpr int half_boxes = 4;

struct alignas(1024) tile_of_boxes {
  std::uint8_t box[boxes][box_bytes];
};

struct shared_layout {
  tile_of_boxes q, page[2];
  std::uint64_t q_full, full[2][boxes];
  std::uint64_t empty[2][2]; // [buffer][column half]
  /// Warpgroup 0 (1) left P in the rope box of page 0 (1), and its peak. mbarriers, since racecheck does not take a
  /// bar.arrive of one warpgroup before the bar.sync of the other for an order, although PTX does; they cost the same.
  std::uint64_t p_ready[2];
  float peak[2][tile_rows]; // running maximum as warpgroup 0 (1) left it
  float sum[2][tile_rows];
  float scales[2][2 * mla_page]; // of codes, two half pages; only with fp8_ds_mla
};

// The i-th half of a pair of pages that consumers free.
struct freed_half {
  int buffer, half;
  __device__ explicit freed_half(int i) : buffer(i / 2), half((i + 1) / 2 % 2) {}
};

// Columns 4..7 are freed by warpgroup 1, columns 0..3 by warpgroup 0; the rope box with the warpgroup that reads P
// there.
__device__ inline void load_half(shared_layout& s, const CUtensorMap* cache, int page, int buffer, int half) {
  const auto load = [&](int b) {
    ptx::mbarrier_expect_bytes(&s.full[buffer][b], box_bytes);
    ptx::copy_tile(s.page[buffer].box[b], cache, &s.full[buffer][b], b * 64, page * mla_page, ptx::evict_first);
  };
  for (int b = half * half_boxes; b < (half + 1) * half_boxes; ++b) load(b);
  if (half != buffer) load(boxes - 1);
}

// One thread fills one buffer, with every second page. The cache does not wait for the kernel before this one, which
// makes q: whoever wrote the cache is older.
__device__ inline void produce(shared_layout& s, const CUtensorMap* cache, const int* table, int buffer, int first,
                               int last) {
  std::uint32_t parity = 1;
  for (int page = first; page < last; page += 2, parity ^= 1) {
    const int from = table[min(page + buffer, last - 1)];
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      ptx::mbarrier_wait(&s.empty[buffer][half], parity);
      load_half(s, cache, from, buffer, half);
    }
  }
}

__device__ inline void load_q(shared_layout& s, const CUtensorMap* q, int row) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  ptx::mbarrier_expect_bytes(&s.q_full, boxes * box_bytes);
  for (int b = 0; b < boxes; ++b) ptx::copy_tile(s.q.box[b], q, &s.q_full, b * 64, row, ptx::evict_first);
}

} // namespace troupe::cuda::pages
