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
constexpr int bin_count = 2048;
constexpr int digits = 3; // 11, 11 and 10 bits of an order
template <int Digit>
constexpr int shift = Digit == 2 ? 0 : 21 - 11 * Digit;
constexpr amount broken = ~0ull;

/// Tokens that stay: all that are above the threshold, and the first of its ties.
struct pile {
  amount mass;   // of those above
  unsigned ties; // of the threshold, how many there are
  __device__ pile operator+(const pile& other) const { return {mass + other.mass, ties + other.ties}; }
};

__device__ inline pile sum_of_warp(pile p) {
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
  int part_size;       // a multiple of 4

  __device__ explicit place(const sample_args& args)
      : draw(args.rows[blockIdx.y].draw), work(static_cast<row_work*>(args.workspace)[blockIdx.y]),
        scores(args.logits + std::size_t(args.rows[blockIdx.y].row) * args.width),
        part_size(((args.width + gridDim.x - 1) / gridDim.x + 3) / 4 * 4) {}

  /// visit(id, score) for the tokens of this CTA's part that are below `count`.
  template <class Visit>
  __device__ void each(int count, Visit visit) const {
    const int first = blockIdx.x * part_size, end = min(count, first + part_size);
    const bool aligned = reinterpret_cast<std::uintptr_t>(scores) % sizeof(float4) == 0;
    const int quads = aligned ? max(0, end - first) / 4 : 0;
    const auto* quad = reinterpret_cast<const float4*>(scores + first);
    const auto visit_all = [&](int q, float4 v) {
      const int token = first + 4 * q;
      visit(token, v.x), visit(token + 1, v.y), visit(token + 2, v.z), visit(token + 3, v.w);
    };
    for (int q = threadIdx.x; q < quads; q += 2 * threads) { // two loads in flight
      const bool two = q + threads < quads;
      const float4 a = quad[q], b = two ? quad[q + threads] : float4{};
      visit_all(q, a);
      if (two) visit_all(q + threads, b);
    }
    for (int i = first + 4 * quads + int(threadIdx.x); i < end; i += threads) visit(i, scores[i]);
  }
  __device__ bool is_broken() const {
    return work.peak == broken || work.peak >> 32 <= order_of(-INFINITY); // no token is allowed
  }
  __device__ float best() const { return kernels::score_of(unsigned(work.peak >> 32)); }
  /// The lowest score that stays.
  __device__ float lowest() const { return work.threshold ? kernels::score_of(work.threshold) : -INFINITY; }
  __device__ bool searches(filter what) const {
    return draw.inverse_temperature > 0 && (what == filter::top_k ? draw.top_k > 0 : draw.top_p > 0) && !is_broken();
  }
};

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

  __device__ explicit nucleus(const place& here)
      : draw(here.draw), best(here.best()), lowest(here.lowest()),
        ties_max(here.work.ties_wanted ? here.work.ties_wanted : ~0u), tie_weight(weight_of(lowest, best, draw)) {
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
