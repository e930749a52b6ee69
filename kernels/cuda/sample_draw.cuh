// The last pass over a row: what each warp's piece adds to the mass, the threshold of top-p, and the token drawn.
#pragma once

#include "kernels/cuda/sample_threshold.cuh"

namespace troupe::cuda::sampling {

/// The token that the draw falls into, from the piles of pieces; a thread has two of these.
__device__ inline int find_token(const place& here, const nucleus& stays, const pile (&mine)[2], int vocab_size) {
  using scan = block_scan<pile>;
  __shared__ typename scan::TempStorage storage;
  __shared__ int found;
  __shared__ pile passed;
  const auto add = [](const pile& a, const pile& b) { return a + b; };
  pile before, total;
  scan(storage).ExclusiveScan(mine[0] + mine[1], before, pile{}, add, total);
  const amount target = kernels::share_of(stays.mass(total), here.draw.uniform);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (stays.mass(before) <= target && target < stays.mass(before + mine[j])) // one thread
      found = 2 * threadIdx.x + j, passed = before;
    before = before + mine[j];
  }
  __syncthreads();

  const int first = found * here.piece_size, end = min(vocab_size, first + here.piece_size);
  const int run = (here.piece_size + threads - 1) / threads, begin = first + int(threadIdx.x) * run;
  pile here_of{};
  for (int i = begin; i < min(end, begin + run); ++i) stays.add(here_of, here.scores[i]);
  scan(storage).ExclusiveScan(here_of, before, pile{}, add);
  before = passed + before;
  if (stays.mass(before) <= target && target < stays.mass(before + here_of)) // one thread
    for (int i = begin;; ++i) {
      stays.add(before, here.scores[i]);
      if (target < stays.mass(before)) {
        found = i;
        break;
      }
    }
  __syncthreads();
  return found;
}

/// The bin in which top-p ends, and how much of the mass is wanted of it.
struct ending {
  int bin;
  amount wanted;
};
__device__ inline ending end_of_top_p(const place& here) {
  const auto& work = here.work;
  amount in_bin[bins_each], mass = 0;
#pragma unroll
  for (int j = 0; j < bins_each; ++j) in_bin[j] = work.mass[threadIdx.x * bins_each + j];
  for (unsigned part = threadIdx.x % 32; part < gridDim.x; part += 32) mass += work.part_mass[part];
  const amount wanted = kernels::mass_wanted(sum_of_warp(mass) + work.last_mass, here.draw.top_p);
  const auto at = find_crossing(wanted, work.last_bin, in_bin);
  return {at.bin, wanted - at.above};
}

__device__ inline void read_pieces(const row_work& work, pile (&piles)[2]) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const unsigned piece = 2 * threadIdx.x + j;
    piles[j] = {};
    if (piece < gridDim.x * warps) piles[j] = {__ldcg(&work.pieces[piece].mass), __ldcg(&work.pieces[piece].ties)};
  }
}

struct draw_memory {
  wide_sums<bin_count> sums;
  wide_sums<parts_max * warps> masses; // of candidates that stay, piece by piece
  unsigned ties[parts_max * warps];
};

/// What the last CTA of a row draws from: the score that stays, and the piles of this thread's two pieces.
struct drawing {
  unsigned threshold, ties_max;
  pile piles[2];
};

/// Adds up the pieces and lists the tokens of the last bin. True in the last CTA of a row, which finds the threshold.
__device__ inline bool end_top_p(const place& here, draw_memory& m, float best, int vocab_size, drawing& from) {
  auto& work = here.work;
  const auto& draw = here.draw;
  const auto end = end_of_top_p(here);
  const float top_k_score = work.threshold ? kernels::score_of(work.threshold) : -INFINITY;
  pile mine{};
  each_up_to(
      here, vocab_size, best, end.bin, [&](amount weight) { mine.mass += weight >= draw.weight_min ? weight : 0; },
      [&](amount weight, float score, int id) {
        if (weight > 0 && score >= top_k_score) append_candidate(work, score, id);
      });
  mine = sum_of_warp(mine);
  if (threadIdx.x % 32 == 0) work.pieces[blockIdx.x * warps + threadIdx.x / 32] = mine;
  m.masses.clear();
  for (int i = threadIdx.x; i < parts_max * warps; i += threads) m.ties[i] = 0;
  if (!is_last(work)) return false;

  const candidate_list list(here, vocab_size);
  read_pieces(work, from.piles);
  const auto is_candidate = [&](float score) {
    return score >= top_k_score && int(here.bin_of(score, best)) == end.bin;
  };
  const auto counts = [&](unsigned order) { return weight_of(kernels::score_of(order), best, draw); };
  const auto least = find_threshold(list, m.sums, end.wanted, is_candidate, counts);
  from.threshold = least.order, from.ties_max = unsigned(kernels::ties_wanted(least.rest, counts(least.order)));
  const wide_adder add(m.masses);
  list.each(is_candidate, [&](unsigned order, int id) {
    const int piece = id / here.piece_size;
    const amount weight = counts(order);
    if (order == least.order) atomicAdd(&m.ties[piece], 1u);
    if (order > least.order && weight >= draw.weight_min) add(piece, weight);
  });
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int piece = 2 * threadIdx.x + j;
    from.piles[j] = from.piles[j] + pile{m.masses[piece], m.ties[piece]};
  }
  return true;
}

/// The same where top-k or nothing limits the choice.
__device__ inline bool add_up(const place& here, float best, int vocab_size, drawing& from) {
  auto& work = here.work;
  from.threshold = work.threshold, from.ties_max = ~0u;
  const nucleus stays(here.draw, best, from.threshold, from.ties_max);
  pile mine{};
  here.each(vocab_size, [&](const batch& b) {
#pragma unroll
    for (int i = 0; i < batch::size; ++i) stays.add(mine, b.score[i]);
  });
  mine = sum_of_warp(mine);
  if (threadIdx.x % 32 == 0) work.pieces[blockIdx.x * warps + threadIdx.x / 32] = mine;
  if (!is_last(work)) return false;
  read_pieces(work, from.piles);
  return true;
}

} // namespace troupe::cuda::sampling
