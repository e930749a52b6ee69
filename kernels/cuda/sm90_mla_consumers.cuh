// The consumers of Hopper's MLA decode: two warpgroups that score pages, take their softmax and add P V, and store the
// rows. What the pages were before they became bf16 boxes does not matter here. sm90_bf16_mla_decode.cu says how it
// fits.
#pragma once

#include "kernels/cuda/common/mla_pages.cuh"
#include "kernels/cuda/common/wgmma_n128.cuh"

#include <cuda_bf16.h>

#include <cstddef>

namespace troupe::cuda::pages {

constexpr int sums = 1; // named barrier

/// Tiles of 64 rows have one CTA, or one for each half of the columns.
template <int Columns>
__device__ int row_tile() {
  return blockIdx.x / (mla_latent / Columns);
}
template <int Columns>
__device__ int first_column(int half) {
  return blockIdx.x % (mla_latent / Columns) * Columns + half * (Columns / 2);
}

using scores = float[32];
/// Of a warpgroup; Columns are a CTA's.
template <int Columns>
using output = float[Columns / 4];

__device__ inline int row_of(int i) { return threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8; }
__device__ inline int col_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }

__device__ inline void score(shared_layout& s, int buffer, std::uint32_t parity, scores& d) {
#pragma unroll
  for (int b = 0; b < boxes; ++b) {
    ptx::mbarrier_wait(&s.full[buffer][b], parity);
    ptx::wgmma_fence();
    const auto q = ptx::k_major_descriptor(s.q.box[b]), k = ptx::k_major_descriptor(s.page[buffer].box[b]);
#pragma unroll
    for (int step = 0; step < 4; ++step) ptx::wgmma_bf16_n64(d, q + step * 2, k + step * 2, b + step != 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(d);
}

// Scales to base 2, masks positions the row may not see, and returns the rows' maxima with `peak` included.
__device__ inline void mask_and_peak(scores& d, float scale_log2, int first_position, const int (&visible)[2],
                                     float (&peak)[2]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    d[i] = first_position + col_of(i) < visible[i / 2 % 2] ? d[i] * scale_log2 : -INFINITY;
    peak[i / 2 % 2] = fmaxf(peak[i / 2 % 2], d[i]);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r)
    for (int lanes = 1; lanes <= 2; lanes *= 2) peak[r] = fmaxf(peak[r], __shfl_xor_sync(~0u, peak[r], lanes));
}

// A finite stand-in for the maximum of rows that have seen nothing yet: exp2(-inf - it) is 0, never NaN.
__device__ inline float finite(float peak) { return peak == -INFINITY ? 0.0f : peak; }

__device__ inline void exponentiate(scores& d, const float (&peak)[2], float (&sum)[2]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    d[i] = ptx::exp2_approx(d[i] - finite(peak[i / 2 % 2]));
    sum[i / 2 % 2] += d[i];
  }
}

__device__ inline std::uint32_t pack(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

__device__ inline void multiply(float (&o)[128], const std::uint32_t (&a)[4], std::uint64_t v) {
  ptx::wgmma_bf16_n256(o, a, v);
}
__device__ inline void multiply(float (&o)[64], const std::uint32_t (&a)[4], std::uint64_t v) {
  ptx::wgmma_bf16_n128(o, a, v);
}
__device__ inline void multiply(float (&o)[128], std::uint64_t a, std::uint64_t v) { ptx::wgmma_bf16_n256(o, a, v); }
__device__ inline void multiply(float (&o)[64], std::uint64_t a, std::uint64_t v) { ptx::wgmma_bf16_n128(o, a, v); }

/// Values of a warpgroup's columns.
template <int Columns>
__device__ std::uint64_t values_of(const tile_of_boxes& page, int half) {
  return ptx::n_major_descriptor(page.box[first_column<Columns>(half) / 64], box_bytes);
}

// o += P V with P in this thread's registers, 16 positions a step.
template <int Columns>
__device__ void multiply_own(const tile_of_boxes& page, int half, const scores& p, output<Columns>& o) {
  const auto v = values_of<Columns>(page, half);
  std::uint32_t a[4][4];
#pragma unroll
  for (int i = 0; i < 32; i += 2) a[i / 8][i / 2 % 4] = pack(p[i], p[i + 1]);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) multiply(o, a[step], v + step * 128);
  ptx::wgmma_commit();
}

// o += P V with the other warpgroup's P, which lies in the page's rope box.
template <int Columns>
__device__ void multiply_other(const tile_of_boxes& page, int half, output<Columns>& o) {
  const auto v = values_of<Columns>(page, half);
  const auto a = ptx::k_major_descriptor(page.box[boxes - 1]);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) multiply(o, a + step * 2, v + step * 128);
  ptx::wgmma_commit();
}

// P as a K-major tile with the copy engine's swizzle: 16-byte chunk c of row r lies at chunk c ^ (r % 8).
__device__ inline void store_p(tile_of_boxes& page, const scores& p) {
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int row = row_of(i), col = col_of(i);
    const int at = row * 128 + ((col / 8) ^ (row % 8)) * 16 + col % 8 * 2;
    *reinterpret_cast<std::uint32_t*>(&page.box[boxes - 1][at]) = pack(p[i], p[i + 1]);
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

template <int Columns>
__device__ void free_half(shared_layout& s, int buffer, int half) {
  if (threadIdx.x % 32 != 0) return;
  ptx::mbarrier_arrive(&s.empty[buffer][half]);
  if (Columns < mla_latent)
    ptx::mbarrier_arrive(&s.empty[buffer][half ^ 1]); // both warpgroups' columns lie in one half
}

template <int Columns>
struct rows_state {
  output<Columns> o = {};
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {};
};

// Sums and outputs that were relative to the maxima `before` become relative to st.peak.
template <int Columns>
__device__ void rescale(rows_state<Columns>& st, const float (&before)[2]) {
  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) factor[r] = exp2f(before[r] - finite(st.peak[r]));
  if (__all_sync(~0u, factor[0] == 1.0f && factor[1] == 1.0f)) return; // the maximum rarely moves after a few pages
#pragma unroll
  for (int i = 0; i < Columns / 4; ++i) st.o[i] *= factor[i / 2 % 2];
  st.sum[0] *= factor[0], st.sum[1] *= factor[1];
}

// Takes over the maxima as the other warpgroup left them.
template <int Columns>
__device__ void follow_peak(const shared_layout& s, int other, rows_state<Columns>& st) {
  const float before[2] = {st.peak[0], st.peak[1]};
  st.peak[0] = s.peak[other][row_of(0)], st.peak[1] = s.peak[other][row_of(2)];
  rescale(st, before);
}

// Both warpgroups add the first page, then the second, each behind the softmax that the other one is at.

// Warpgroup 0 of one pair of pages: scores the first, left columns of both.
template <int Columns>
__device__ void first_of_pair(shared_layout& s, rows_state<Columns>& st, std::uint32_t parity, float scale_log2,
                              int position, const int (&visible)[2]) {
  scores p;
  const float before[2] = {st.peak[0], st.peak[1]};
  score(s, 0, parity, p);
  mask_and_peak(p, scale_log2, position, visible, st.peak);
  s.peak[0][row_of(0)] = st.peak[0], s.peak[0][row_of(2)] = st.peak[1];
  rescale(st, before);
  exponentiate(p, st.peak, st.sum);
  store_p(s.page[0], p);
  ptx::mbarrier_arrive(&s.p_ready[0]);
  multiply_own<Columns>(s.page[0], 0, p, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half<Columns>(s, 0, 0);
  ptx::mbarrier_wait(&s.p_ready[1], parity);
  follow_peak(s, 1, st);
  multiply_other<Columns>(s.page[1], 0, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half<Columns>(s, 1, 0);
}

// Warpgroup 1: scores the second page, right columns of both.
template <int Columns>
__device__ void second_of_pair(shared_layout& s, rows_state<Columns>& st, std::uint32_t parity, float scale_log2,
                               int position, const int (&visible)[2]) {
  scores p;
  score(s, 1, parity, p);
  ptx::mbarrier_wait(&s.p_ready[0], parity);
  follow_peak(s, 0, st);
  multiply_other<Columns>(s.page[0], 1, st.o);
  const float before[2] = {st.peak[0], st.peak[1]};
  mask_and_peak(p, scale_log2, position, visible, st.peak);
  s.peak[1][row_of(0)] = st.peak[0], s.peak[1][row_of(2)] = st.peak[1];
  float own_sum[2] = {};
  exponentiate(p, st.peak, own_sum);
  store_p(s.page[1], p);
  ptx::mbarrier_arrive(&s.p_ready[1]);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half<Columns>(s, 0, 1);
  rescale(st, before);
  st.sum[0] += own_sum[0], st.sum[1] += own_sum[1];
  multiply_own<Columns>(s.page[1], 1, p, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half<Columns>(s, 1, 1);
}

struct store_target {
  std::uint16_t* out; // rows of 512, or null with several splits
  float *partial_out, *partial_lse;
};

// Partial results leave as whole rows through the pages, which nobody needs any more.

template <int Columns>
__device__ void store_part(shared_layout& s, const rows_state<Columns>& st, const float (&inverse)[2], int half,
                           int rows_here, float* to) {
  constexpr int own = Columns / 2, pitch = own + 8; // floats; lines of a half warp lie in different banks
  static_assert(2 * tile_rows * pitch * sizeof(float) <= sizeof(shared_layout::page));
  float* rows = reinterpret_cast<float*>(s.page) + half * tile_rows * pitch;
#pragma unroll
  for (int i = 0; i < Columns / 4; i += 2) {
    const float scale = inverse[i / 2 % 2];
    *reinterpret_cast<float2*>(rows + row_of(i) * pitch + col_of(i)) =
        make_float2(st.o[i] * scale, st.o[i + 1] * scale);
  }
  ptx::fence_async_proxy();
  __syncwarp();
  const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32; // a warp's own sixteen
  if (threadIdx.x % 32 < 16 && row < rows_here)
    ptx::store_line(to + row * mla_latent + first_column<Columns>(half), rows + row * pitch, own * sizeof(float));
  ptx::wait_stored();
}

template <int Columns>
__device__ void store(shared_layout& s, rows_state<Columns>& st, int half, int rows_here, const store_target& to) {
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    for (int lanes = 1; lanes <= 2; lanes *= 2) st.sum[r] += __shfl_xor_sync(~0u, st.sum[r], lanes);
  s.sum[half][row_of(0)] = st.sum[0], s.sum[half][row_of(2)] = st.sum[1];
  ptx::named_barrier(sums, consumer_threads);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row_of(2 * r);
    const float total = s.sum[0][row] + s.sum[1][row];
    inverse[r] = total > 0 ? 1.0f / total : 0.0f;
    if (!to.out && first_column<Columns>(half) == 0 && threadIdx.x % 4 == 0 && row < rows_here)
      to.partial_lse[row] = total > 0 ? st.peak[r] + log2f(total) : -INFINITY;
  }
  if (!to.out) return store_part(s, st, inverse, half, rows_here, to.partial_out);
#pragma unroll
  for (int i = 0; i < Columns / 4; i += 2) {
    const float scale = inverse[i / 2 % 2];
    if (row_of(i) < rows_here)
      *reinterpret_cast<std::uint32_t*>(to.out + row_of(i) * mla_latent + first_column<Columns>(half) + col_of(i)) =
          pack(st.o[i] * scale, st.o[i + 1] * scale);
  }
}

// One code path per warpgroup: ptxas serialises wgmma behind branches it cannot prove uniform.
template <int Columns, int Half>
__device__ void consume(shared_layout& s, const mla_decode_args& args, rows_state<Columns>& st, int length, int first,
                        int last) {
  const int first_row = row_tile<Columns>() * tile_rows;
  int visible[2];
  for (int r = 0; r < 2; ++r) // rows past the last query see what the last one sees
    visible[r] = length - args.queries + 1 + min((first_row + row_of(2 * r)) / args.heads, args.queries - 1);
  const float scale_log2 = args.scale * 1.44269504f;
  ptx::mbarrier_wait(&s.q_full, 0);
  std::uint32_t parity = 0;
  for (int page = first; page < last; page += 2, parity ^= 1) {
    if constexpr (Half == 0) {
      first_of_pair(s, st, parity, scale_log2, page * mla_page, visible);
    } else { // the odd page out is a copy that nobody may see
      const int limit[2] = {page + 1 < last ? visible[0] : 0, page + 1 < last ? visible[1] : 0};
      second_of_pair(s, st, parity, scale_log2, (page + 1) * mla_page, limit);
    }
  }
}

} // namespace troupe::cuda::pages
