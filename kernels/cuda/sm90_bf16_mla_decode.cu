// Math      S[r,p] = scale q[r] . k[p],  P = softmax_p S,  z[r] = sum_p P[r,p] k[p, 0:512];  fp32 softmax
// Shapes    q [requests, queries * heads, 576], cache [pages, 64, 576], z [.., 512], all bf16;
//           row r = query * heads + head
// Roofline  1152 bytes and 2176 flop per head and position: 242 flop/B at 128 heads, the bf16 ridge of an H100; memory
//           bound below. 128 requests x 4096 x 128 heads: 604 MB, 146 GFLOP: 133 us at 4.54 TB/s, 185 us at 790 TFLOP/s
// Mapping   one CTA per 64 rows of a request and split of its positions: the 64 x 512 fp32 output fills the registers
//           of two warpgroups, 256 columns each. Pages go through two buffers; warpgroup w scores the pages of buffer w
//           and both warpgroups multiply every page's P by their half of its values, so that one's softmax hides behind
//           the other's products. A page's P reuses the page's own rope box, which the values do not need
// Invariant rows are independent; bits depend on the split plan, which may follow each request's length alone
// Measured  H200, L2-cold, graph replay: 128 x 4096 x 128 heads 266 us (548 TFLOP/s, 0.69 of the limit), 128 x 8192 x
//           16 296 us (4.1 TB/s, 0.90); with combine: 1 x 4096 x 128 15.8 us (an empty kernel 2.5), 1 x 65536 53.8 us
// Rejected  clusters of two row tiles sharing pages by multicast: 338 us, the pair waits for its slower half at every
//           page; 8, 16, 22, 64 splits of 1 x 4096: 28, 21, 22, 25 us; a combine that walks the splits in order:
//           75 us for 1 x 65536
// Source    model-spec.md 6.3; schedule: FlashMLA's "seesaw" (deep-dive of April 2025)
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/split_plan.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/mla_decode_parts.hpp"
#include "kernels/cuda/sm90_fp8_mla_pages.cuh"

#include <cuda_bf16.h>

#include <algorithm>

namespace troupe::cuda {
namespace {

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
  std::uint64_t q_full, full[2][boxes], empty[2][2]; // empty[buffer][column half]
  float peak[2][tile_rows];                          // running maximum as warpgroup 0 (1) left it
  float sum[2][tile_rows];
  float scales[2][2 * mla_page]; // of codes: two half pages
};

// Named barriers: what one warpgroup waits for from the other.
enum { peak_of_first = 1, p_of_second, p_of_first, sums };

// The i-th half of a pair of pages that consumers free.
struct freed_half {
  int buffer, half;
  __device__ explicit freed_half(int i) : buffer(i % 2), half((i + 1) / 2 % 2) {}
};

// Columns 4..7 are freed by warpgroup 1, columns 0..3 by warpgroup 0; the rope box with the warpgroup that reads P
// there.
__device__ void load_half(shared_layout& s, const CUtensorMap* cache, int page, int buffer, int half) {
  const auto load = [&](int b) {
    ptx::mbarrier_expect_bytes(&s.full[buffer][b], box_bytes);
    ptx::copy_tile(s.page[buffer].box[b], cache, &s.full[buffer][b], b * 64, page * mla_page, ptx::evict_first);
  };
  for (int b = half * half_boxes; b < (half + 1) * half_boxes; ++b) load(b);
  if (half != buffer) load(boxes - 1);
}

// One thread.
__device__ void load_query(shared_layout& s, const CUtensorMap* q, int q_row) {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  for (int b = 0; b < boxes; ++b) {
    ptx::mbarrier_expect_bytes(&s.q_full, box_bytes); // one phase: nine arrivals
    ptx::copy_tile(s.q.box[b], q, &s.q_full, b * 64, q_row, ptx::evict_first);
  }
}

// The cache does not wait for the kernel before this one, which makes q: whoever wrote the cache is older.
__device__ void produce(shared_layout& s, const CUtensorMap* q, const CUtensorMap* cache, const int* table, int q_row,
                        int first, int last) {
  if (first >= last) return load_query(s, q, q_row);
  std::uint32_t parity = 1;
  for (int page = first; page < last; page += 2, parity ^= 1) {
    const int pages[2] = {table[page], table[min(page + 1, last - 1)]};
    for (int i = 0; i < 4; ++i) {
      const auto [buffer, half] = freed_half(i);
      ptx::mbarrier_wait(&s.empty[buffer][half], parity);
      load_half(s, cache, pages[buffer], buffer, half);
    }
    if (page == first) load_query(s, q, q_row);
  }
}

using scores = float[32];
using output = float[128];

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

__device__ void rescale(output& o, float (&sum)[2], const float (&factor)[2]) {
  if (__all_sync(~0u, factor[0] == 1.0f && factor[1] == 1.0f)) return; // the maximum rarely moves after a few pages
#pragma unroll
  for (int i = 0; i < 128; ++i) o[i] *= factor[i / 2 % 2];
  sum[0] *= factor[0], sum[1] *= factor[1];
}

__device__ std::uint32_t pack(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

// o += P V with P in this thread's registers, 16 positions a step.
__device__ void multiply_own(const tile_of_boxes& page, int half, const scores& p, output& o) {
  const auto v = ptx::n_major_descriptor(page.box[half * half_boxes], box_bytes);
  std::uint32_t a[4][4];
#pragma unroll
  for (int i = 0; i < 32; i += 2) a[i / 8][i / 2 % 4] = pack(p[i], p[i + 1]);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) ptx::wgmma_bf16_n256(o, a[step], v + step * 128);
  ptx::wgmma_commit();
}

// o += P V with the other warpgroup's P, which lies in the page's rope box.
__device__ void multiply_other(const tile_of_boxes& page, int half, output& o) {
  const auto v = ptx::n_major_descriptor(page.box[half * half_boxes], box_bytes);
  const auto a = ptx::k_major_descriptor(page.box[boxes - 1]);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) ptx::wgmma_bf16_n256(o, a + step * 2, v + step * 128);
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

__device__ void free_half(shared_layout& s, int buffer, int half) {
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(&s.empty[buffer][half]);
}
__device__ void arrive(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(consumer_threads) : "memory");
}
__device__ void await(int barrier) { ptx::named_barrier(barrier, consumer_threads); }

struct rows_state {
  output o = {};
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {};
};

__device__ void factors(const float (&from)[2], const float (&to)[2], float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) factor[r] = exp2f(from[r] - finite(to[r]));
}

// Warpgroup 0 of one pair of pages: scores the first, left columns of both.
__device__ void first_of_pair(shared_layout& s, rows_state& st, std::uint32_t parity, float scale_log2, int position,
                              const int (&visible)[2]) {
  scores p;
  float before[2] = {st.peak[0], st.peak[1]}, factor[2];
  score(s, 0, parity, p);
  mask_and_peak(p, scale_log2, position, visible, st.peak);
  s.peak[0][row_of(0)] = st.peak[0], s.peak[0][row_of(2)] = st.peak[1];
  arrive(peak_of_first);
  factors(before, st.peak, factor);
  rescale(st.o, st.sum, factor);
  exponentiate(p, st.peak, st.sum);
  multiply_own(s.page[0], 0, p, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half(s, 0, 0);
  await(p_of_second);
  const float peak[2] = {s.peak[1][row_of(0)], s.peak[1][row_of(2)]};
  factors(st.peak, peak, factor);
#pragma unroll
  for (int i = 0; i < 32; ++i) p[i] *= factor[i / 2 % 2];
  store_p(s.page[0], p);
  arrive(p_of_first);
  rescale(st.o, st.sum, factor);
  st.peak[0] = peak[0], st.peak[1] = peak[1];
  multiply_other(s.page[1], 0, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half(s, 1, 0);
}

// Warpgroup 1: scores the second page, right columns of both.
__device__ void second_of_pair(shared_layout& s, rows_state& st, std::uint32_t parity, float scale_log2, int position,
                               const int (&visible)[2]) {
  scores p;
  float before[2] = {st.peak[0], st.peak[1]}, factor[2];
  score(s, 1, parity, p);
  await(peak_of_first);
  st.peak[0] = s.peak[0][row_of(0)], st.peak[1] = s.peak[0][row_of(2)];
  mask_and_peak(p, scale_log2, position, visible, st.peak);
  s.peak[1][row_of(0)] = st.peak[0], s.peak[1][row_of(2)] = st.peak[1];
  factors(before, st.peak, factor);
  rescale(st.o, st.sum, factor);
  exponentiate(p, st.peak, st.sum);
  store_p(s.page[1], p);
  arrive(p_of_second);
  multiply_own(s.page[1], 1, p, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half(s, 1, 1);
  await(p_of_first);
  multiply_other(s.page[0], 1, st.o);
  ptx::wgmma_wait<0>();
  ptx::pin(st.o);
  free_half(s, 0, 1);
}

struct store_target {
  std::uint16_t* out; // rows of 512, or null with several splits
  float *partial_out, *partial_lse;
};

__device__ void store(shared_layout& s, rows_state& st, int half, int rows_here, const store_target& to) {
#pragma unroll
  for (int r = 0; r < 2; ++r)
    for (int lanes = 1; lanes <= 2; lanes *= 2) st.sum[r] += __shfl_xor_sync(~0u, st.sum[r], lanes);
  s.sum[half][row_of(0)] = st.sum[0], s.sum[half][row_of(2)] = st.sum[1];
  await(sums);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row_of(2 * r);
    if (row >= rows_here) continue;
    const float total = s.sum[0][row] + s.sum[1][row], inverse = total > 0 ? 1.0f / total : 0.0f;
    if (!to.out && half == 0 && threadIdx.x % 4 == 0)
      to.partial_lse[row] = total > 0 ? st.peak[r] + log2f(total) : -INFINITY;
#pragma unroll
    for (int i = 2 * r; i < 128; i += 4) {
      const std::size_t at = std::size_t(row) * mla_latent + half * 256 + col_of(i);
      if (to.out)
        *reinterpret_cast<std::uint32_t*>(to.out + at) = pack(st.o[i] * inverse, st.o[i + 1] * inverse);
      else
        *reinterpret_cast<float2*>(to.partial_out + at) = make_float2(st.o[i] * inverse, st.o[i + 1] * inverse);
    }
  }
}

// One code path per warpgroup: ptxas serialises wgmma behind branches it cannot prove uniform.
template <int Half>
__device__ void consume(shared_layout& s, const mla_decode_args& args, int length, int first, int last, bool alone) {
  const int rows = args.queries * args.heads, first_row = blockIdx.x * tile_rows;
  int visible[2];
  for (int r = 0; r < 2; ++r) // rows past the last query see what the last one sees
    visible[r] = length - args.queries + 1 + min((first_row + row_of(2 * r)) / args.heads, args.queries - 1);
  rows_state st;
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
  const std::size_t row = std::size_t(blockIdx.y) * rows + first_row;
  const std::size_t part = std::size_t(blockIdx.z) * args.requests * rows + row;
  store(s, st, Half, min(tile_rows, rows - first_row),
        {alone ? args.out + row * mla_latent : nullptr, args.partial_out + part * mla_latent, args.partial_lse + part});
}

/// How producer threads fill pages, and how registers are divided for it. Plain: one thread issues copies.
template <cache_format Format>
struct page_source {
  static constexpr int threads = 128, arrivals = 1, producer_registers = 40, consumer_registers = 232;
};
template <>
struct page_source<cache_format::fp8_ds_mla> {
  static constexpr int threads = fp8_pages::warps * 32, arrivals = fp8_pages::warps;
  static constexpr int producer_registers = 88, consumer_registers = 208;
};

/// `cache_map` is of whole entries, in fp8_ds_mla of their rotated channels.
template <cache_format Format>
__global__ void __launch_bounds__(consumer_threads + page_source<Format>::threads, 1)
    mla_decode_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap cache_map,
                      const mla_decode_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  const int rows = args.queries * args.heads, first_row = blockIdx.x * tile_rows, request = blockIdx.y,
            split = blockIdx.z;
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&s.q_full, boxes);
    for (int buffer = 0; buffer < 2; ++buffer) {
      for (int b = 0; b < boxes; ++b)
        ptx::mbarrier_init(&s.full[buffer][b], b + 1 < boxes ? page_source<Format>::arrivals : 1);
      for (int half = 0; half < 2; ++half) ptx::mbarrier_init(&s.empty[buffer][half], 4); // warps of a warpgroup
    }
    ptx::fence_barrier_init();
  }
  __syncthreads();
  const int length = args.lengths[request], pages = (length + mla_page - 1) / mla_page;
  const split_plan plan(args, length);
  if (split >= plan.count) return;
  const int first = min(split * plan.pages_each, pages), last = min(first + plan.pages_each, pages);
  if (threadIdx.x >= consumer_threads) {
    ptx::give_registers<page_source<Format>::producer_registers>();
    const int* table = args.tables + std::size_t(request) * args.table_pages;
    if constexpr (Format == cache_format::fp8_ds_mla)
      fp8_pages::produce<freed_half>(s, &cache_map, static_cast<const std::uint8_t*>(args.cache), table, first, last);
    else if (threadIdx.x == consumer_threads)
      produce(s, &q_map, &cache_map, table, request * rows + first_row, first, last);
    return;
  }
  ptx::take_registers<page_source<Format>::consumer_registers>();
  if (Format == cache_format::fp8_ds_mla && threadIdx.x == 0) load_query(s, &q_map, request * rows + first_row);
  if (threadIdx.x < 128)
    consume<0>(s, args, length, first, last, plan.count == 1);
  else
    consume<1>(s, args, length, first, last, plan.count == 1);
}

} // namespace

cudaError_t sm90_mla_decode_parts(const mla_decode_args& args, cudaStream_t stream) {
  const int rows = args.queries * args.heads;
  const bool plain = args.format == cache_format::plain;
  CUtensorMap q_map, cache_map;
  if (const auto e = make_bf16_map(&q_map, args.q, std::uint64_t(args.requests) * rows, mla_entry, tile_rows)) return e;
  const auto entries = std::uint64_t(args.pages) * mla_page;
  const auto* rope = static_cast<const std::uint8_t*>(args.cache) + fp8_pages::rope_at;
  if (const auto e = plain ? make_bf16_map(&cache_map, args.cache, entries, mla_entry, mla_page)
                           : make_bf16_map(&cache_map, rope, entries, mla_entry - mla_latent, mla_page,
                                           fp8_pages::entry_bytes / 2))
    return e;
  constexpr int shared_bytes = sizeof(shared_layout);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  const dim3 grid((rows + tile_rows - 1) / tile_rows, args.requests, args.splits);
  const auto kernel = plain ? mla_decode_kernel<cache_format::plain> : mla_decode_kernel<cache_format::fp8_ds_mla>;
  const int threads = consumer_threads + (plain ? page_source<cache_format::plain>::threads
                                                : page_source<cache_format::fp8_ds_mla>::threads);
  return launch_dependent(kernel, {grid, threads, shared_bytes}, stream, q_map, cache_map, args);
}

} // namespace troupe::cuda
