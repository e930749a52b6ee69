// Math      kernels/sampling.hpp; the order of the steps is that of runtime/exec/sampler.hpp
// Shapes    logits [.., width] f32 of any width, one token a row
// Roofline  4 bytes a token of the vocabulary: a row of 129280 is 0.5 MB, 0.1 us at 4.5 TB/s; few rows are launch-bound
// Mapping   parts x rows; a kernel is one pass over the scores, and the last CTA of a row to end it draws the
//           conclusion: the best score; digit by digit the score at which top-k, then top-p end, from histograms of
//           what tokens count there (1, or their weight); the part, then the token that the draw falls into
// Invariant only integers are added up: no result depends on the order of CTAs, on their number or on other rows
// Measured  H200, temperature 0.6, top-p 0.95: 1 row 39 us, 64 rows 127 us; kernels/README.md says where they go
// Rejected  sorting: only a threshold is needed, and a sort writes 129280 pairs several times
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/sample_work.cuh"

#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <algorithm>

namespace troupe::cuda {
namespace {

using namespace sampling;

constexpr int ctas_per_sm = 2, peak_ctas_per_sm = 4; // what registers allow

template <class T>
using block_scan = cub::BlockScan<T, threads, cub::BLOCK_SCAN_WARP_SCANS>;

/// Clears the row's workspace and edits its scores.
__global__ void __launch_bounds__(threads) start_kernel(const sample_args args) {
  begin();
  const sample_row& row = args.rows[blockIdx.x];
  auto& work = static_cast<row_work*>(args.workspace)[blockIdx.x];
  if (threadIdx.x == 0) {
    work.peak = work.mass = work.wanted = 0;
    work.threshold = work.ties_wanted = work.found = work.arrived = 0;
  }
  if (row.draw.top_k > 0 || row.draw.top_p > 0)
    for (int bin = threadIdx.x; bin < bin_count; bin += threads) work.bins[bin] = 0;
  __syncthreads();
  for (int e = row.first_edit + threadIdx.x; e < row.first_edit + row.edit_count; e += threads) {
    const auto edit = args.edits[e];
    if (edit.token >= args.vocab_size) continue;
    float& score = args.logits[std::size_t(row.row) * args.width + edit.token];
    if (!kernels::is_score(score)) work.peak = broken;
    args.unedited[e] = score;
    score = kernels::edited(score, edit.uses, row.draw);
  }
}

__global__ void __launch_bounds__(threads) restore_kernel(const sample_args args) {
  begin();
  const sample_row& row = args.rows[blockIdx.x];
  for (int e = row.first_edit + threadIdx.x; e < row.first_edit + row.edit_count; e += threads)
    if (const int token = args.edits[e].token; token < args.vocab_size)
      args.logits[std::size_t(row.row) * args.width + token] = args.unedited[e];
}

__global__ void __launch_bounds__(threads, peak_ctas_per_sm) peak_kernel(const sample_args args) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  begin();
  const place here(args);
  amount peak = 0;
  here.each(args.width, [&](int token, float score) {
    if (!kernels::is_score(score))
      peak = broken;
    else if (token < args.vocab_size)
      peak = max(peak, amount{order_of(score)} << 32 | ~unsigned(token));
  });
  peak = reduce(storage).Reduce(peak, [](amount a, amount b) { return max(a, b); });
  if (threadIdx.x == 0) atomicMax(&here.work.peak, peak);
}

/// Finds the bin in which the sum from the highest one on reaches what is wanted; leaves empty bins.
template <filter What, int Digit>
__device__ void find_digit(const place& here) {
  using scan = block_scan<amount>;
  constexpr int mine = bin_count / threads;
  __shared__ typename scan::TempStorage storage;
  auto& work = here.work;
  amount wanted = work.wanted, in_bin[mine], sum = 0, above, total;
  const int first = bin_count - 1 - int(threadIdx.x) * mine;
#pragma unroll
  for (int j = 0; j < mine; ++j) {
    sum += in_bin[j] = __ldcg(&work.bins[first - j]);
    work.bins[first - j] = 0;
  }
  scan(storage).ExclusiveSum(sum, above, total);
  if (Digit == 0 && What == filter::top_k) wanted = here.draw.top_k < total ? here.draw.top_k : 0;
  if (Digit == 0 && What == filter::top_p) wanted = kernels::mass_wanted(__ldcg(&work.mass), here.draw.top_p);
#pragma unroll
  for (int j = 0; j < mine; ++j) {
    if (above < wanted && wanted <= above + in_bin[j]) { // in one thread, once
      work.found |= unsigned(first - j) << shift<Digit>;
      work.wanted = wanted - above;
      if (Digit < digits - 1) break;
      work.threshold = work.found;
      if (What == filter::top_p) {
        const auto weight = weight_of(kernels::score_of(work.found), here.best(), here.draw);
        work.ties_wanted = unsigned(kernels::ties_wanted(work.wanted, weight));
      }
      work.found = 0, work.wanted = 0;
      break;
    }
    above += in_bin[j];
  }
}

/// One digit of the score at which `What` ends, among the tokens that share the digits before.
template <filter What, int Digit>
__global__ void __launch_bounds__(threads, ctas_per_sm) search_kernel(const sample_args args) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  __shared__ unsigned low[bin_count], high[bin_count]; // of 64-bit sums: shared memory adds 32 bits at once
  begin();
  const place here(args);
  if (!here.searches(What) || (Digit > 0 && here.work.wanted == 0)) return;
  for (int bin = threadIdx.x; bin < bin_count; bin += threads) low[bin] = high[bin] = 0;
  __syncthreads();

  constexpr unsigned open = ~0u >> 11 * Digit; // bits from this digit on
  const unsigned found = here.work.found;
  const float best = here.best(), most = Digit == 0 ? best : kernels::score_of(found | open);
  const float least = Digit == 0 ? here.lowest() : max(here.lowest(), kernels::score_of(found));
  // Most tokens are too light for top-p: they count in the mass, and that is all. The best alone has this much of it.
  amount lightest = 1;
  if (What == filter::top_p)
    lightest = max(lightest, amount{kernels::light_below(kernels::weight_of_best, here.draw.top_p, args.vocab_size)});
  amount mass = 0;
  here.each(args.vocab_size, [&](int, float score) {
    if (score < least || score > most) return;
    const amount weight = weight_of(score, best, here.draw);
    mass += weight;
    if (weight < lightest) return;
    const unsigned order = order_of(score);
    if ((order ^ found) & ~open) return; // a zero of the other sign
    const amount counts = What == filter::top_k ? 1 : weight;
    const unsigned bin = (order & open) >> shift<Digit>, part = unsigned(counts), before = atomicAdd(&low[bin], part);
    const unsigned carried = unsigned(counts >> 32) + (before + part < part);
    if (carried) atomicAdd(&high[bin], carried);
  });
  if (What == filter::top_p && Digit == 0) {
    mass = reduce(storage).Sum(mass);
    if (threadIdx.x == 0) atomicAdd(&here.work.mass, mass);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < bin_count; bin += threads)
    if (const amount sum = amount{high[bin]} << 32 | low[bin]) atomicAdd(&here.work.bins[bin], sum);
  if (is_last(here.work)) find_digit<What, Digit>(here);
}

template <filter What>
cudaError_t search(const launch_shape& parts, const sample_args& args, cudaStream_t stream) {
  if (const auto e = launch_dependent(search_kernel<What, 0>, parts, stream, args)) return e;
  if (const auto e = launch_dependent(search_kernel<What, 1>, parts, stream, args)) return e;
  return launch_dependent(search_kernel<What, 2>, parts, stream, args);
}

/// The token that the draw falls into, from the piles of the parts: the part, a warp's piece of it, a thread's token.
__device__ int find_token(const place& here, const nucleus& stays, int vocab_size) {
  using scan = block_scan<pile>;
  __shared__ typename scan::TempStorage storage;
  __shared__ int found;
  __shared__ pile passed;
  const auto add = [](const pile& a, const pile& b) { return a + b; };
  const int lane = threadIdx.x % 32;
  int first = 0, end = vocab_size, piece = here.part_size, mine_is = threadIdx.x; // of the pieces of [first, end)
  pile mine{}, before, total;
  if (threadIdx.x < gridDim.x) {
    mine.mass = __ldcg(&here.work.parts[threadIdx.x].mass);
    mine.ties = __ldcg(&here.work.parts[threadIdx.x].ties);
  }
  scan(storage).ExclusiveScan(mine, before, pile{}, add, total);
  const amount target = kernels::share_of(stays.mass(total), here.draw.uniform);
  while (true) {
    if (stays.mass(before) <= target && target < stays.mass(before + mine)) // one thread
      found = first + mine_is * piece, passed = before;
    __syncthreads();
    first = found;
    if (piece == 1) return first;
    const pile so_far = passed;
    end = min(end, first + piece);
    mine = {};
    if (end - first > threads) {
      piece = (end - first + warps - 1) / warps, mine_is = threadIdx.x / 32;
      const int last = min(end, first + (mine_is + 1) * piece);
      for (int i = first + mine_is * piece + lane; i < last; i += 32) stays.add(mine, here.scores[i]);
      mine = sum_of_warp(mine);
      if (lane > 0) mine = {};
    } else {
      piece = 1, mine_is = threadIdx.x;
      if (first + mine_is < end) stays.add(mine, here.scores[first + mine_is]);
    }
    scan(storage).ExclusiveScan(mine, before, pile{}, add);
    before = so_far + before;
  }
}

__global__ void __launch_bounds__(threads, ctas_per_sm) draw_kernel(const sample_args args) {
  __shared__ pile of_warp[warps];
  begin();
  const place here(args);
  auto& token = args.tokens[blockIdx.y];
  if (here.is_broken() || here.draw.inverse_temperature == 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) token = here.is_broken() ? -1 : int(~unsigned(here.work.peak));
    return;
  }
  const nucleus stays(here);
  pile mine{};
  here.each(args.vocab_size, [&](int, float score) { stays.add(mine, score); });
  mine = sum_of_warp(mine);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < warps; ++w) mine = mine + of_warp[w];
    here.work.parts[blockIdx.x] = mine;
  }
  if (!is_last(here.work)) return;
  const int drawn = find_token(here, stays, args.vocab_size);
  if (threadIdx.x == 0) token = drawn;
}

/// As many CTAs as run at once, and not more parts than give every thread a few tokens.
launch_shape parts_of(const sample_args& args, int ctas) {
  const int running = ctas / args.row_count, useful = (args.width + 2 * threads - 1) / (2 * threads);
  return {dim3(std::clamp(std::min(running, useful), 1, parts_max), args.row_count), threads};
}

} // namespace

std::size_t sample_workspace_bytes(int row_count) { return std::size_t(row_count) * sizeof(row_work); }

cudaError_t sample_rows(const sample_args& args, cudaStream_t stream) {
  if (args.width < 1 || args.vocab_size < 1 || args.vocab_size > args.width || args.width > kernels::vocab_size_max)
    return cudaErrorInvalidValue;
  if (args.row_count == 0) return cudaSuccess;
  int processors = 0;
  if (const auto e = multiprocessors(processors)) return e;
  const launch_shape rows{dim3(args.row_count), threads};
  const auto parts = parts_of(args, ctas_per_sm * processors);

  if (const auto e = launch_dependent(start_kernel, rows, stream, args)) return e;
  if (const auto e = launch_dependent(peak_kernel, parts_of(args, peak_ctas_per_sm * processors), stream, args))
    return e;
  if (args.top_k_any)
    if (const auto e = search<filter::top_k>(parts, args, stream)) return e;
  if (args.top_p_any)
    if (const auto e = search<filter::top_p>(parts, args, stream)) return e;
  if (const auto e = launch_dependent(draw_kernel, parts, stream, args)) return e;
  return args.edits_any ? launch_dependent(restore_kernel, rows, stream, args) : cudaSuccess;
}

} // namespace troupe::cuda
