// What the kernels of sample.cu share: the state of a row between them, and how a CTA goes through its part of a row.
#pragma once

#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/sample.hpp"

#include <cuda_runtime.h>

namespace troupe::cuda::sampling {

using kernels::order_of;
using kernels::weight_of;
using amount = unsigned long long; // CUDA's atomics do not know std::uint64_t

constexpr int threads = 512, warps = threads / 32;
constexpr int parts_max = 64;
constexpr int bin_count = 2048; // of a 64th of a nat below the best
constexpr int bin_shift = 21;   // of a distance
constexpr int candidates_max = 2048;
constexpr amount broken = ~0ull;

/// Tokens that stay: all that are above the threshold, and the first of its ties.
struct pile {
  amount mass;   // of those above
  unsigned ties; // of the threshold, how many there are
  __device__ pile operator+(const pile& other) const { return {mass + other.mass, ties + other.ties}; }
};

__device__ inline amount sum_of_warp(amount x) {
#pragma unroll
  for (int d = 16; d; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  return x;
}
__device__ inline pile sum_of_warp(pile p) {
#pragma unroll
  for (int d = 16; d; d /= 2) p = p + pile{__shfl_xor_sync(~0u, p.mass, d), __shfl_xor_sync(~0u, p.ties, d)};
  return p;
}

struct candidate {
  unsigned order; // of its score
  int token;
};

struct row_work {
  amount peaks[parts_max];      // of each part: order of its best score, then ~ its id; or `broken`
  unsigned edits_broken;        // an edited score was none
  amount mass[bin_count];       // weights, bin by bin; only of bins that may be in top-p
  unsigned count[bin_count];    // of tokens with a weight; only if there is a top-k
  amount part_mass[parts_max];  // of all tokens; then of those in better bins than the last one that top-k leaves
  amount last_mass;             // of the tokens of that bin that stay
  unsigned last_bin, threshold; // that bin, and the order of the lowest score that stays; 0: all
  unsigned arrived;             // CTAs that have ended a pass
  unsigned candidate_count;     // tokens in the bin that a threshold lies in
  candidate candidates[candidates_max]; // the first of them
  pile pieces[parts_max * warps];       // of each warp's piece of a part
};

/// Tokens that a lane looks at together, ids ascending; those that are not there have no chance.
struct batch {
  static constexpr int size = 8;
  float score[size];
  int first, step;
  __device__ int id(int i) const { return first + i / 4 * 128 + i % 4 * step; }
  __device__ float most() const {
    float most = score[0];
#pragma unroll
    for (int i = 1; i < size; ++i) most = fmaxf(most, score[i]);
    return most;
  }
};

/// What a CTA works at.
struct place {
  const kernels::token_draw draw;
  row_work& work;
  const float* scores; // of the row
  int piece_size;      // of a warp, a multiple of 4

  __device__ explicit place(const sample_args& args)
      : draw(args.rows[blockIdx.y].draw), work(static_cast<row_work*>(args.workspace)[blockIdx.y]),
        scores(args.logits + std::size_t(args.rows[blockIdx.y].row) * args.width),
        piece_size((args.width + gridDim.x * warps * 4 - 1) / (gridDim.x * warps * 4) * 4) {}

  /// visit(batch) for the tokens of this warp's piece that are below `count`; by whole warps.
  template <class Visit>
  __device__ void each(int count, Visit visit) const {
    const int lane = threadIdx.x % 32, piece = (blockIdx.x * warps + threadIdx.x / 32) * piece_size;
    const int end = min(count, piece + piece_size);
    const bool aligned = reinterpret_cast<std::uintptr_t>(scores) % sizeof(float4) == 0;
    batch b;
    b.step = aligned ? 1 : 32;
    b.first = piece + (aligned ? 4 * lane : lane);
    for (int rest = end - piece; rest > 0; rest -= 32 * batch::size, b.first += 32 * batch::size) {
#pragma unroll
      for (int i = 0; i < batch::size; i += 4)
        if (aligned && b.id(i) + 4 <= end) {
          const auto quad = *reinterpret_cast<const float4*>(scores + b.id(i));
          b.score[i] = quad.x, b.score[i + 1] = quad.y, b.score[i + 2] = quad.z, b.score[i + 3] = quad.w;
        } else {
          for (int j = i; j < i + 4; ++j) b.score[j] = b.id(j) < end ? scores[b.id(j)] : -INFINITY;
        }
      visit(b);
    }
  }
  /// The best token as row_work::peaks has it, or `broken`; every warp looks for itself.
  __device__ amount peak() const {
    static_assert(parts_max == 64, "two a lane");
    const int lane = threadIdx.x % 32;
    const amount a = work.peaks[lane], b = work.peaks[lane + 32], mine = a > b ? a : b;
    const unsigned high = __reduce_max_sync(~0u, unsigned(mine >> 32));
    return amount{high} << 32 | __reduce_max_sync(~0u, high == mine >> 32 ? unsigned(mine) : 0);
  }
  __device__ unsigned bin_of(float score, float best) const {
    return kernels::distance_of(score, best, draw) >> bin_shift;
  }
};

__device__ inline bool is_token(amount peak) { return peak != broken && peak >> 32 > order_of(-INFINITY); }
__device__ inline float score_of(amount peak) { return kernels::score_of(unsigned(peak >> 32)); }

__device__ inline void begin() {
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
}

/// Whether this CTA is the last of its row to get here; it sees what the others have written, through L2.
__device__ inline bool is_last(row_work& work) {
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

/// The tokens among which one is drawn.
struct nucleus {
  const kernels::token_draw draw;
  const float best, lowest; // scores that stay
  const unsigned ties_max;
  amount tie_weight;

  __device__ nucleus(const kernels::token_draw& draw, float best, unsigned threshold, unsigned ties_max)
      : draw(draw), best(best), lowest(threshold ? kernels::score_of(threshold) : -INFINITY), ties_max(ties_max),
        tie_weight(weight_of(lowest, best, draw)) {
    if (tie_weight < draw.weight_min) tie_weight = 0;
  }
  __device__ void add(pile& to, float score) const {
    if (score < lowest) return;
    if (score == lowest) return void(++to.ties);
    const amount weight = weight_of(score, best, draw);
    if (weight >= draw.weight_min) to.mass += weight;
  }
  __device__ amount mass(const pile& p) const { return p.mass + min(p.ties, ties_max) * tie_weight; }
};

} // namespace troupe::cuda::sampling
