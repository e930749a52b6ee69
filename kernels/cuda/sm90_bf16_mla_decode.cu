// Math      S[r,p] = scale q[r] . k[p],  P = softmax_p S,  z[r] = sum_p P[r,p] k[p, 0:512];  fp32 softmax
// Shapes    q [requests, queries * heads, 576], cache [pages, 64, 576], z [.., 512], all bf16;
//           row r = query * heads + head
// Roofline  1152 bytes and 2176 flop per head and position: 242 flop/B at 128 heads, the bf16 ridge of an H100; memory
//           bound below. 128 requests x 4096 x 128 heads: 604 MB, 146 GFLOP: 133 us at 4.54 TB/s, 185 us at 790 TFLOP/s
// Mapping   one CTA per 64 rows of a request and split of its positions: the 64 x 512 fp32 output fills the registers
//           of two warpgroups, 256 columns each. Pages go through two buffers; warpgroup w scores the pages of buffer w
//           and both warpgroups multiply every page's P by their half of its values, first page first, each behind the
//           softmax that the other one is at. A page's P reuses the page's own rope box, which the values do not need.
//           While multiprocessors are idle, two CTAs share the columns: a multiprocessor writes some 30 bytes a cycle,
//           and partial results are 128 KB
// Invariant rows are independent; bits depend on the split plan, which may follow each request's length alone
// Measured  H200, L2-cold, graph replay, an empty kernel 4.3 us: 128 x 4096 x 128 heads 258-262 us (560 TFLOP/s, 0.70
//           of the limit), 128 x 8192 x 16 296 us (4.1 TB/s, 0.88); with combine: 1 x 4096 x 128 17.1-17.4 us, 1 x
//           65536 52.2 us. In the same runs 267-270, 297-300, 18.4 and 57 us when P went to the other warpgroup after
//           the second page's maximum was known, one thread loaded both buffers, and partial results left registers 32
//           bytes a row and store. Profiled: tensor core 0.58 busy, L2 0.72 of its peak
// Rejected  clusters of two row tiles sharing pages by multicast: 338 us, the pair waits for its slower half at every
//           page; scores of the next page before this one's products are done: 272 us; pages prefetched into L2:
//           265-272 us, 16 heads 344-471; the combine's values loaded before its weights: + 0.4 us for 1 x 4096; 8, 16,
//           22, 64 splits of 1 x 4096: 28, 21, 22, 25 us; a combine that walks the splits in order: 75 us for 1 x 65536
// Source    model-spec.md 6.3; schedule: FlashMLA's "seesaw" (deep-dive of April 2025)
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/mla_pages.cuh"
#include "kernels/cuda/common/split_plan.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma_n128.cuh"
#include "kernels/cuda/mla_decode_parts.hpp"
#include "kernels/cuda/sm90_fp8_mla_pages.cuh"

#include <cuda_bf16.h>

#include <algorithm>
#include <cstddef>

namespace troupe::cuda {
namespace {

using namespace pages;

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

__device__ int row_of(int i) { return threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8; }
__device__ int col_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }

__device__ void score(shared_layout& s, int buffer, std::uint32_t parity, scores& d) {
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
__device__ void mask_and_peak(scores& d, float scale_log2, int first_position, const int (&visible)[2],
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
__device__ float finite(float peak) { return peak == -INFINITY ? 0.0f : peak; }

__device__ void exponentiate(scores& d, const float (&peak)[2], float (&sum)[2]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    d[i] = ptx::exp2_approx(d[i] - finite(peak[i / 2 % 2]));
    sum[i / 2 % 2] += d[i];
  }
}

__device__ std::uint32_t pack(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

__device__ void multiply(float (&o)[128], const std::uint32_t (&a)[4], std::uint64_t v) {
  ptx::wgmma_bf16_n256(o, a, v);
}
__device__ void multiply(float (&o)[64], const std::uint32_t (&a)[4], std::uint64_t v) {
  ptx::wgmma_bf16_n128(o, a, v);
}
__device__ void multiply(float (&o)[128], std::uint64_t a, std::uint64_t v) { ptx::wgmma_bf16_n256(o, a, v); }
__device__ void multiply(float (&o)[64], std::uint64_t a, std::uint64_t v) { ptx::wgmma_bf16_n128(o, a, v); }

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
__device__ void store_p(tile_of_boxes& page, const scores& p) {
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

/// How producer threads fill pages, and how registers are divided for it. Plain: a thread a buffer issues copies.
template <cache_format Format>
struct page_source {
  static constexpr int threads = 128, arrivals = 1, producer_registers = 40, consumer_registers = 232;
};
template <>
struct page_source<cache_format::fp8_ds_mla> {
  static constexpr int threads = fp8_pages::warps * 32, arrivals = fp8_pages::warps;
  static constexpr int producer_registers = 88, consumer_registers = 208;
};

template <cache_format Format>
constexpr int threads_of = consumer_threads + page_source<Format>::threads;

/// Threads that a multiprocessor's registers are divided among: half the columns leave room for the sum of the splits,
/// which then waits in place for its turn.
template <int Columns, cache_format Format>
constexpr int register_shares = Columns == mla_latent ? threads_of<Format> : 512;

/// `cache_map` is of whole entries, in fp8_ds_mla of their rotated channels.
template <cache_format Format>
__device__ void fill(shared_layout& s, const CUtensorMap* q_map, const CUtensorMap* cache_map,
                     const mla_decode_args& args, const int* table, int q_row, int first, int last) {
  const int warp = (threadIdx.x - consumer_threads) / 32;
  if constexpr (Format == cache_format::fp8_ds_mla) {
    fp8_pages::produce<freed_half>(s, cache_map, static_cast<const std::uint8_t*>(args.cache), table, first, last);
  } else if (threadIdx.x % 32 == 0) {
    if (warp < 2) produce(s, cache_map, table, warp, first, last);
    if (warp == 2) load_q(s, q_map, q_row);
  }
}

template <int Columns, cache_format Format>
__global__ void __launch_bounds__(register_shares<Columns, Format>, 1)
    mla_decode_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap cache_map,
                      const mla_decode_args args) {
  using source = page_source<Format>;
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  const int rows = args.queries * args.heads, first_row = row_tile<Columns>() * tile_rows, request = blockIdx.y,
            split = blockIdx.z;
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&s.q_full, 1);
    for (int buffer = 0; buffer < 2; ++buffer) {
      ptx::mbarrier_init(&s.p_ready[buffer], 128);
      for (int b = 0; b < boxes; ++b) ptx::mbarrier_init(&s.full[buffer][b], b + 1 < boxes ? source::arrivals : 1);
      for (int half = 0; half < 2; ++half) // warps of a warpgroup, or of both
        ptx::mbarrier_init(&s.empty[buffer][half], 4 * (mla_latent / Columns));
    }
    ptx::fence_barrier_init();
  }
  __syncthreads();
  const int length = args.lengths[request], pages = (length + mla_page - 1) / mla_page;
  const split_plan plan(args, length);
  if (split >= plan.count) return;
  const int first = min(split * plan.pages_each, pages), last = min(first + plan.pages_each, pages);
  if (threadIdx.x >= consumer_threads) {
    ptx::give_registers<source::producer_registers>();
    fill<Format>(s, &q_map, &cache_map, args, args.tables + std::size_t(request) * args.table_pages,
                 request * rows + first_row, first, last);
    return;
  }
  ptx::take_registers<Columns == mla_latent ? source::consumer_registers : 168>();
  if (Format == cache_format::fp8_ds_mla && threadIdx.x == 0) load_q(s, &q_map, request * rows + first_row);
  rows_state<Columns> st;
  if (threadIdx.x < 128)
    consume<Columns, 0>(s, args, st, length, first, last);
  else
    consume<Columns, 1>(s, args, st, length, first, last);
  const std::size_t row = std::size_t(request) * rows + first_row;
  const std::size_t part = std::size_t(split) * args.requests * rows + row;
  store(s, st, threadIdx.x / 128, min(tile_rows, rows - first_row),
        {plan.count == 1 ? args.out + row * mla_latent : nullptr, args.partial_out + part * mla_latent,
         args.partial_lse + part});
}

/// Tiles, requests, splits; columns of a tile may be divided among two CTAs.
template <int Columns, cache_format Format>
cudaError_t start(const mla_decode_args& args, const CUtensorMap& q_map, const CUtensorMap& cache_map,
                  cudaStream_t stream) {
  constexpr bool plain = Format == cache_format::plain;
  constexpr int bytes =
      plain ? offsetof(shared_layout, scales) : offsetof(shared_layout, scales) + sizeof(shared_layout::scales);
  static_assert(!plain || bytes + 1024 + 9344 <= 233472, "with a CTA of the sum on one multiprocessor");
  static_assert(bytes <= 232448, "one CTA's shared memory on sm_90");
  const int tiles = (args.queries * args.heads + tile_rows - 1) / tile_rows;
  const dim3 grid(tiles * (mla_latent / Columns), args.requests, args.splits);
  return launch_dependent(mla_decode_kernel<Columns, Format>, {grid, threads_of<Format>, bytes}, stream, q_map,
                          cache_map, args);
}

} // namespace

cudaError_t sm90_mla_decode_parts(const mla_decode_args& args, cudaStream_t stream) {
  const int rows = args.queries * args.heads;
  CUtensorMap q_map, cache_map;
  if (const auto e = make_bf16_map(&q_map, args.q, std::uint64_t(args.requests) * rows, mla_entry, tile_rows)) return e;
  const auto entries = std::uint64_t(args.pages) * mla_page;
  if (args.format == cache_format::fp8_ds_mla) {
    const auto* rope = static_cast<const std::uint8_t*>(args.cache) + fp8_pages::rope_at;
    if (const auto e =
            make_bf16_map(&cache_map, rope, entries, mla_entry - mla_latent, mla_page, fp8_pages::entry_bytes / 2))
      return e;
    return start<mla_latent, cache_format::fp8_ds_mla>(args, q_map, cache_map, stream);
  }
  if (const auto e = make_bf16_map(&cache_map, args.cache, entries, mla_entry, mla_page)) return e;
  // Columns in two CTAs pay while multiprocessors are idle; a row gets the same bits.
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  const int tiles = (rows + tile_rows - 1) / tile_rows;
  if (2ll * tiles * args.requests * args.splits <= sms)
    return start<mla_latent / 2, cache_format::plain>(args, q_map, cache_map, stream);
  return start<mla_latent, cache_format::plain>(args, q_map, cache_map, stream);
}

} // namespace troupe::cuda
