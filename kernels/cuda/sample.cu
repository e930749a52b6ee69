// Math      kernels/sampling.hpp; the order of the steps is that of runtime/exec/sampler.hpp
// Shapes    logits [.., width] f32 of any width, one token a row
// Roofline  4 bytes a token of the vocabulary: a row of 129280 is 0.5 MB, 0.1 us at 4.5 TB/s; few rows are launch-bound
// Mapping   parts x rows; a kernel is one pass over the scores, and the last CTA of a row to end it draws the
//           conclusion: the best score; digit by digit the score at which top-k, then top-p end, from histograms of
//           what tokens count there (1, or their weight); the part, then the token that the draw falls into
// Invariant only integers are added up: no result depends on the order of CTAs, on their number or on other rows
// Rejected  sorting: only a threshold is needed, and a sort writes 129280 pairs several times
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/sample.hpp"

#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <algorithm>

namespace troupe::cuda {
namespace {

using kernels::order_of;
using kernels::weight_of;
using amount = unsigned long long; // CUDA's atomics do not know std::uint64_t

constexpr int threads = 512, warps = threads / 32;
constexpr int ctas_per_sm = 2, peak_ctas_per_sm = 4; // what registers allow
constexpr int parts_max = 64;
constexpr int bin_count = 2048;
constexpr int digits = 3; // 11, 11 and 10 bits of an order
constexpr amount broken = ~0ull;

/// Tokens that stay: all that are above the threshold, and the first of its ties.
struct pile {
  amount mass;   // of those above
  unsigned ties; // of the threshold, how many there are
  __device__ pile operator+(const pile& other) const { return {mass + other.mass, ties + other.ties}; }
};

__device__ pile sum_of_warp(pile p) {
#pragma unroll
  for (int d = 16; d; d /= 2) p = p + pile{__shfl_xor_sync(~0u, p.mass, d), __shfl_xor_sync(~0u, p.ties, d)};
  return p;
}

struct row_work {
  amount peak;          // order of the best score, then ~ its id; or `broken`
  amount mass;          // of all tokens that top-k leaves
  amount wanted;        // of what is below the digits found so far; 0: all stay
  unsigned threshold;   // order of the lowest score that stays
  unsigned ties_wanted; // so many of it stay; 0: all
  unsigned found;       // digits of the threshold that is being looked for
  unsigned arrived;     // CTAs that have ended this pass
  amount bins[bin_count];
  pile parts[parts_max];
};

enum class filter { top_k, top_p };

/// What a CTA works at.
struct place {
  const kernels::token_draw draw;
  row_work& work;
  const float* scores; // of the row
  int part_size;

  __device__ explicit place(const sample_args& args)
      : draw(args.rows[blockIdx.y].draw), work(static_cast<row_work*>(args.workspace)[blockIdx.y]),
        scores(args.logits + std::size_t(args.rows[blockIdx.y].row) * args.width),
        part_size((args.width + gridDim.x - 1) / gridDim.x) {}

  /// visit(id, score) for the tokens of this CTA's part that are below `count`.
  template <class Visit>
  __device__ void each(int count, Visit visit) const {
    constexpr int ahead = 4; // loads in flight
    const int end = min(count, int(blockIdx.x + 1) * part_size);
    for (int first = blockIdx.x * part_size + threadIdx.x; first < end; first += ahead * threads) {
      float score[ahead];
#pragma unroll
      for (int j = 0; j < ahead; ++j)
        if (first + j * threads < end) score[j] = scores[first + j * threads];
#pragma unroll
      for (int j = 0; j < ahead; ++j)
        if (first + j * threads < end) visit(first + j * threads, score[j]);
    }
  }
  __device__ bool is_broken() const {
    return work.peak == broken || work.peak >> 32 <= order_of(-INFINITY); // no token is allowed
  }
  __device__ float best() const { return kernels::score_of(unsigned(work.peak >> 32)); }
  __device__ bool searches(filter what) const {
    return draw.inverse_temperature > 0 && (what == filter::top_k ? draw.top_k > 0 : draw.top_p > 0) && !is_broken();
  }
};

__device__ void begin() {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
}

/// Whether this CTA is the last of its row to get here; it sees what the others have written, through L2.
__device__ bool is_last(row_work& work) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(&work.arrived, 1u) == gridDim.x - 1;
    if (last) work.arrived = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

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
__device__ void find_digit(const place& here, filter what, int digit, int shift) {
  using scan = cub::BlockScan<amount, threads>;
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
  if (digit == 0 && what == filter::top_k) wanted = here.draw.top_k < total ? here.draw.top_k : 0;
  if (digit == 0 && what == filter::top_p) wanted = kernels::mass_wanted(__ldcg(&work.mass), here.draw.top_p);
#pragma unroll
  for (int j = 0; j < mine; ++j) {
    if (above < wanted && wanted <= above + in_bin[j]) { // in one thread, once
      work.found |= unsigned(first - j) << shift;
      work.wanted = wanted - above;
      if (shift > 0) break;
      work.threshold = work.found;
      if (what == filter::top_p) {
        const auto weight = weight_of(kernels::score_of(work.found), here.best(), here.draw);
        work.ties_wanted = unsigned(kernels::ties_wanted(work.wanted, weight));
      }
      work.found = 0, work.wanted = 0;
      break;
    }
    above += in_bin[j];
  }
}

/// One digit of the score at which `what` ends, among the tokens that share the digits before.
__global__ void __launch_bounds__(threads, ctas_per_sm) search_kernel(const sample_args args, filter what, int digit) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  __shared__ unsigned low[bin_count], high[bin_count]; // of 64-bit sums: shared memory adds 32 bits at once
  begin();
  const place here(args);
  if (!here.searches(what) || (digit > 0 && here.work.wanted == 0)) return;
  for (int bin = threadIdx.x; bin < bin_count; bin += threads) low[bin] = high[bin] = 0;
  __syncthreads();

  const int end = digit == 0 ? 32 : 32 - 11 * digit, shift = max(0, end - 11); // bits [shift, end)
  const unsigned threshold = here.work.threshold, found = here.work.found, mask = (1u << (end - shift)) - 1;
  const float best = here.best();
  // Most tokens are too light for top-p: they count in the mass, and that is all. The best alone has this much of it.
  const amount light =
      what == filter::top_p ? kernels::light_below(kernels::weight_of_best, here.draw.top_p, args.vocab_size) : 0;
  amount mass = 0;
  here.each(args.vocab_size, [&](int, float score) {
    const unsigned order = order_of(score);
    if (order < threshold || amount{order ^ found} >> end) return;
    const amount weight = weight_of(score, best, here.draw);
    mass += weight;
    if (weight == 0 || weight < light) return;
    const amount counts = what == filter::top_k ? 1 : weight;
    const unsigned bin = order >> shift & mask, part = unsigned(counts), before = atomicAdd(&low[bin], part);
    const unsigned carried = unsigned(counts >> 32) + (before + part < part);
    if (carried) atomicAdd(&high[bin], carried);
  });
  if (what == filter::top_p && digit == 0) {
    mass = reduce(storage).Sum(mass);
    if (threadIdx.x == 0) atomicAdd(&here.work.mass, mass);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < bin_count; bin += threads)
    if (const amount sum = amount{high[bin]} << 32 | low[bin]) atomicAdd(&here.work.bins[bin], sum);
  if (is_last(here.work)) find_digit(here, what, digit, shift);
}

/// The tokens among which one is drawn.
struct nucleus {
  const kernels::token_draw draw;
  const float best;
  const unsigned threshold, ties_max;
  amount tie_weight = 0;

  __device__ explicit nucleus(const place& here)
      : draw(here.draw), best(here.best()), threshold(here.work.threshold),
        ties_max(here.work.ties_wanted ? here.work.ties_wanted : ~0u) {
    if (threshold) tie_weight = weight_of(kernels::score_of(threshold), best, draw);
    if (tie_weight < draw.weight_min) tie_weight = 0;
  }
  __device__ void add(pile& to, float score) const {
    const unsigned order = order_of(score);
    if (order < threshold) return;
    if (order == threshold) return void(++to.ties);
    const amount weight = weight_of(score, best, draw);
    if (weight >= draw.weight_min) to.mass += weight;
  }
  __device__ amount mass(const pile& p) const { return p.mass + min(p.ties, ties_max) * tie_weight; }
};

/// The token that the draw falls into, from the piles of the parts: the part, a warp's piece of it, a thread's token.
__device__ int find_token(const place& here, const nucleus& stays, int vocab_size) {
  using scan = cub::BlockScan<pile, threads>;
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
  for (const auto what : {filter::top_k, filter::top_p})
    for (int digit = 0; digit < digits && (what == filter::top_k ? args.top_k_any : args.top_p_any); ++digit)
      if (const auto e = launch_dependent(search_kernel, parts, stream, args, what, digit)) return e;
  if (const auto e = launch_dependent(draw_kernel, parts, stream, args)) return e;
  return args.edits_any ? launch_dependent(restore_kernel, rows, stream, args) : cudaSuccess;
}

} // namespace troupe::cuda
