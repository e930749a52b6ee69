// Math      kernels/sampling.hpp; the order of the steps is that of runtime/exec/sampler.hpp
// Shapes    logits [.., width] f32 of any width, one token a row
// Roofline  4 bytes a token of the vocabulary: a row of 129280 is 0.5 MB, 0.1 us at 4.5 TB/s; few rows are launch-bound
// Mapping   parts x rows, a piece of a part a warp; a kernel is one pass over the scores: the best one; weights, into
//           bins of a 64th of a nat below it; (with top-k) the tokens of the bin in which top-k ends; those of the bin
//           in which top-p ends, and the mass of every piece. The last CTA of a row to end one of the latter two finds
//           the threshold among the few tokens of the bin, and in the end the piece that the draw falls into, and the
//           token
// Invariant only integers are added up: no result depends on the order of CTAs, on their number or on other rows
// Measured  H200, temperature 0.6, top-p 0.95: 1 row 22 us, 64 rows 66 us; kernels/README.md says where they go
// Rejected  sorting: only a threshold is needed, and a sort writes 129280 pairs several times
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/sample_draw.cuh"

#include <cub/block/block_reduce.cuh>

#include <algorithm>

namespace troupe::cuda {
namespace {

using namespace sampling;

constexpr int ctas_per_sm = 2, peak_ctas_per_sm = 4; // what registers allow

/// Edits the scores of a row.
__global__ void __launch_bounds__(threads) edit_kernel(const sample_args args) {
  begin();
  const sample_row& row = args.rows[blockIdx.x];
  bool is_broken = false;
  for (int e = row.first_edit + threadIdx.x; e < row.first_edit + row.edit_count; e += threads) {
    const auto edit = args.edits[e];
    if (edit.token >= args.vocab_size) continue;
    float& score = args.logits[std::size_t(row.row) * args.width + edit.token];
    is_broken |= !kernels::is_score(score);
    args.unedited[e] = score;
    score = kernels::edited(score, edit.uses, row.draw);
  }
  is_broken = __syncthreads_or(is_broken);
  if (threadIdx.x == 0) static_cast<row_work*>(args.workspace)[blockIdx.x].edits_broken = is_broken;
}

__global__ void __launch_bounds__(threads) restore_kernel(const sample_args args) {
  begin();
  const sample_row& row = args.rows[blockIdx.x];
  for (int e = row.first_edit + threadIdx.x; e < row.first_edit + row.edit_count; e += threads)
    if (const int token = args.edits[e].token; token < args.vocab_size)
      args.logits[std::size_t(row.row) * args.width + token] = args.unedited[e];
}

/// What the kernels after the best score start from.
__device__ void clear(const place& here) {
  auto& work = here.work;
  const int first = blockIdx.x * threads + threadIdx.x;
  if (first == 0) {
    work.last_mass = 0, work.last_bin = bin_count - 1;
    work.threshold = work.arrived = work.candidate_count = 0;
  }
  for (int bin = first; bin < bin_count; bin += gridDim.x * threads) {
    if (here.draw.top_p > 0) work.mass[bin] = 0;
    if (here.draw.top_k > 0) work.count[bin] = 0;
  }
}

__global__ void __launch_bounds__(threads, peak_ctas_per_sm) peak_kernel(const sample_args args) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  begin();
  const place here(args);
  clear(here);
  bool is_broken = args.edits_any && here.work.edits_broken;
  float best = -INFINITY;
  int token = 0;
  here.each(args.width, [&](const batch& b) {
#pragma unroll
    for (int i = 0; i < batch::size; ++i) {
      is_broken |= !kernels::is_score(b.score[i]);
      if (b.score[i] > best && b.id(i) < args.vocab_size) best = b.score[i], token = b.id(i);
    }
  });
  amount peak = is_broken ? broken : amount{order_of(best)} << 32 | ~unsigned(token);
  peak = reduce(storage).Reduce(peak, [](amount a, amount b) { return max(a, b); });
  if (threadIdx.x == 0) here.work.peaks[blockIdx.x] = peak;
  if (blockIdx.x == 0 && threadIdx.x >= gridDim.x && threadIdx.x < parts_max) here.work.peaks[threadIdx.x] = 0;
}

/// So many bins, from the best one on, may have tokens of top-p: all others are too light. The best token alone has
/// this much of the mass. Rounded up by more than the logarithm is off.
__device__ unsigned heavy_bins(const kernels::token_draw& draw, int vocab_size) {
  if (draw.top_p == 0) return 0;
  const amount lightest = max(amount{1}, amount{kernels::light_below(kernels::weight_of_best, draw.top_p, vocab_size)});
  constexpr float bins_per_octave = 64 * 0.69314718f;
  return unsigned((40 - log2f(float(lightest))) * bins_per_octave) + 2;
}

/// Masses of parts; masses of bins if there is a top-p, counts of bins if there is a top-k.
template <bool Counts>
__device__ void weigh(const place& here, float best, int vocab_size) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  __shared__ wide_sums<bin_count> sums;
  __shared__ unsigned counts[Counts ? bin_count : 1];
  const unsigned heavy = heavy_bins(here.draw, vocab_size);
  const wide_adder add(sums);
  sums.clear();
  if (Counts)
    for (int bin = threadIdx.x; bin < bin_count; bin += threads) counts[bin] = 0;
  __syncthreads();
  amount mass = 0;
  here.each(vocab_size, [&](const batch& b) {
    unsigned bin[batch::size];
    amount weight[batch::size];
#pragma unroll
    for (int i = 0; i < batch::size; ++i) {
      const unsigned distance = kernels::distance_of(b.score[i], best, here.draw);
      bin[i] = distance >> bin_shift, weight[i] = kernels::weight_at(distance);
      mass += weight[i];
    }
#pragma unroll
    for (int i = 0; i < batch::size; ++i) {
      if (bin[i] < heavy) add(bin[i], weight[i]);
      if (Counts && weight[i] > 0) atomicAdd(&counts[bin[i]], 1u);
    }
  });
  mass = reduce(storage).Sum(mass);
  if (threadIdx.x == 0) here.work.part_mass[blockIdx.x] = mass;
  __syncthreads();
  for (int bin = threadIdx.x; bin < bin_count; bin += threads) {
    if (const amount sum = sums[bin]) atomicAdd(&here.work.mass[bin], sum);
    if (Counts && counts[bin]) atomicAdd(&here.work.count[bin], counts[bin]);
  }
}

__global__ void __launch_bounds__(threads, ctas_per_sm) weigh_kernel(const sample_args args) {
  begin();
  const place here(args);
  const amount peak = here.peak();
  if (!is_token(peak) || here.draw.inverse_temperature == 0) return;
  if (here.draw.top_k > 0)
    weigh<true>(here, score_of(peak), args.vocab_size);
  else if (here.draw.top_p > 0)
    weigh<false>(here, score_of(peak), args.vocab_size);
}

/// The score of the last token that top-k leaves, and the mass of all that stay.
__global__ void __launch_bounds__(threads, ctas_per_sm) top_k_kernel(const sample_args args) {
  using reduce = cub::BlockReduce<amount, threads>;
  __shared__ typename reduce::TempStorage storage;
  __shared__ wide_sums<bin_count> sums;
  begin();
  const place here(args);
  auto& work = here.work;
  const amount peak = here.peak(), wanted = here.draw.top_k;
  if (!is_token(peak) || here.draw.inverse_temperature == 0 || wanted == 0) return;
  const float best = score_of(peak);
  amount in_bin[bins_each];
#pragma unroll
  for (int j = 0; j < bins_each; ++j) in_bin[j] = work.count[threadIdx.x * bins_each + j];
  const auto end = find_crossing(wanted, bin_count - 1, in_bin);
  if (end.above + work.count[end.bin] <= wanted && end.bin == bin_count - 1) return; // all stay

  amount mass = 0;
  each_up_to(
      here, args.vocab_size, best, end.bin, [&](amount weight) { mass += weight; },
      [&](amount weight, float score, int token) {
        if (weight > 0) append_candidate(work, score, token);
      });
  mass = reduce(storage).Sum(mass);
  if (threadIdx.x == 0) work.part_mass[blockIdx.x] = mass;
  if (!is_last(work)) return;

  const auto is_candidate = [&](float score) {
    return int(here.bin_of(score, best)) == end.bin && weight_of(score, best, here.draw) > 0;
  };
  const candidate_list list(here, args.vocab_size);
  const auto least = find_threshold(list, sums, wanted - end.above, is_candidate, [](unsigned) { return amount{1}; });
  mass = 0;
  list.each(is_candidate, [&](unsigned order, int) {
    if (order >= least.order) mass += weight_of(kernels::score_of(order), best, here.draw);
  });
  __syncthreads();
  mass = reduce(storage).Sum(mass);
  if (threadIdx.x == 0) {
    work.last_mass = mass, work.last_bin = end.bin, work.threshold = least.order;
    work.candidate_count = 0;
  }
}

__global__ void __launch_bounds__(threads, ctas_per_sm) draw_kernel(const sample_args args) {
  __shared__ draw_memory m;
  begin();
  const place here(args);
  auto& token = args.tokens[blockIdx.y];
  const amount peak = here.peak();
  if (!is_token(peak) || here.draw.inverse_temperature == 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) token = is_token(peak) ? int(~unsigned(peak)) : -1;
    return;
  }
  const float best = score_of(peak);
  drawing from;
  if (here.draw.top_p > 0 ? !end_top_p(here, m, best, args.vocab_size, from)
                          : !add_up(here, best, args.vocab_size, from))
    return;
  const int drawn =
      find_token(here, nucleus(here.draw, best, from.threshold, from.ties_max), from.piles, args.vocab_size);
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

  if (args.edits_any)
    if (const auto e = launch_dependent(edit_kernel, rows, stream, args)) return e;
  if (const auto e = launch_dependent(peak_kernel, parts_of(args, peak_ctas_per_sm * processors), stream, args))
    return e;
  if (args.top_k_any || args.top_p_any)
    if (const auto e = launch_dependent(weigh_kernel, parts, stream, args)) return e;
  if (args.top_k_any)
    if (const auto e = launch_dependent(top_k_kernel, parts, stream, args)) return e;
  if (const auto e = launch_dependent(draw_kernel, parts, stream, args)) return e;
  return args.edits_any ? launch_dependent(restore_kernel, rows, stream, args) : cudaSuccess;
}

} // namespace troupe::cuda
