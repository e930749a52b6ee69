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
//           65536 52.2 us (16.3 and 49.2 since the combine has a multiprocessor for each of few rows). In the same runs
//           267-270, 297-300, 18.4 and 57 us when P went to the other warpgroup after the second page's maximum was
//           known, one thread loaded both buffers, and partial results left registers 32 bytes a row and store.
//           Profiled: tensor core 0.58 busy, L2 0.72 of its peak
// Rejected  clusters of two row tiles sharing pages by multicast: 338 us, the pair waits for its slower half at every
//           page; scores of the next page before this one's products are done: 272 us; pages prefetched into L2:
//           265-272 us, 16 heads 344-471; the combine's values loaded before its weights: + 0.4 us for 1 x 4096; 8, 16,
//           22, 64 splits of 1 x 4096: 28, 21, 22, 25 us; a combine that walks the splits in order: 75 us for 1 x 65536
// Source    model-spec.md 6.3; schedule: FlashMLA's "seesaw" (deep-dive of April 2025)
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/mla_pages.cuh"
#include "kernels/cuda/common/split_plan.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/mla_decode_parts.hpp"
#include "kernels/cuda/sm90_fp8_mla_pages.cuh"
#include "kernels/cuda/sm90_mla_consumers.cuh"

#include <algorithm>
#include <cstddef>

namespace troupe::cuda {
namespace {

using namespace pages;

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
