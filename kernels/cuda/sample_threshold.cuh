// Where a sum over the tokens of a row, best first, reaches what is wanted: first the bin, then, among the tokens of
// that bin, the score. By one CTA.
#pragma once

#include "kernels/cuda/sample_work.cuh"

#include <cub/block/block_scan.cuh>

namespace troupe::cuda::sampling {

template <class T>
using block_scan = cub::BlockScan<T, threads, cub::BLOCK_SCAN_WARP_SCANS>;

/// 64-bit sums in shared memory, which adds 32 bits at once.
template <int Count>
struct wide_sums {
  unsigned low[Count], high[Count];
  __device__ void clear() {
    for (int i = threadIdx.x; i < Count; i += threads) low[i] = high[i] = 0;
  }
  __device__ amount operator[](int i) const { return amount{high[i]} << 32 | low[i]; }
};
/// Adds to them; it keeps their address, which the compiler would work out anew for every sum.
template <int Count>
struct wide_adder {
  std::uint32_t base;
  __device__ explicit wide_adder(wide_sums<Count>& to) {
    asm volatile("mov.u32 %0, %1;" : "=r"(base) : "r"(ptx::shared_address(to.low)));
  }
  __device__ void operator()(int i, amount x) const {
    const std::uint32_t at = base + i * 4, part = unsigned(x), before = ptx::add_shared(at, part);
    if (const unsigned carried = unsigned(x >> 32) + (before + part < part)) ptx::add_shared(at + 4 * Count, carried);
  }
};

/// Where the sum from bin 0 on reaches `wanted`: its bin, and the sum before it.
struct crossing {
  int bin;
  amount above;
};
constexpr int bins_each = bin_count / threads;
/// `in_bin` are the sums of this thread's bins, from threadIdx.x * bins_each on; bin `last` takes what is left;
/// `wanted` is at least 1.
__device__ inline crossing find_crossing(amount wanted, int last, const amount (&in_bin)[bins_each]) {
  using scan = block_scan<amount>;
  __shared__ typename scan::TempStorage storage;
  __shared__ crossing found;
  amount sum = 0, above;
  const int first = int(threadIdx.x) * bins_each;
#pragma unroll
  for (int j = 0; j < bins_each; ++j) sum += in_bin[j];
  scan(storage).ExclusiveSum(sum, above);
#pragma unroll
  for (int j = 0; j < bins_each; ++j) {
    if (above < wanted && first + j <= last && (wanted <= above + in_bin[j] || first + j == last))
      found = {first + j, above}; // in one thread, once
    above += in_bin[j];
  }
  __syncthreads();
  const crossing result = found;
  __syncthreads();
  return result;
}

/// The lowest score that is needed, and what tokens of just that score have to add.
struct threshold {
  unsigned order;
  amount rest;
};

/// The tokens of the bin that a threshold lies in, as the last CTA of a row finds them.
struct candidate_list {
  static constexpr int few = 128;
  const place& here;
  int vocab_size, count;
  candidate mine; // of this thread, if there are few
  __device__ candidate_list(const place& here, int vocab_size) : here(here), vocab_size(vocab_size) {
    mine = {__ldcg(&here.work.candidates[threadIdx.x].order), __ldcg(&here.work.candidates[threadIdx.x].token)};
    count = __ldcg(&here.work.candidate_count);
  }
  /// visit(order, token). All tokens of the row are looked at if they were too many to be listed.
  template <class IsCandidate, class Visit>
  __device__ void each(IsCandidate is_candidate, Visit visit) const {
    if (count <= few) {
      if (threadIdx.x < count) visit(mine.order, mine.token);
    } else if (count <= candidates_max) {
      for (int i = threadIdx.x; i < count; i += threads)
        visit(__ldcg(&here.work.candidates[i].order), __ldcg(&here.work.candidates[i].token));
    } else {
      for (int token = threadIdx.x; token < vocab_size; token += threads)
        if (const float score = here.scores[token]; is_candidate(score)) visit(order_of(score), token);
    }
  }
};

/// Few candidates: each thread looks at what is better than its own.
template <class Counts>
__device__ threshold find_among_few(const candidate_list& list, amount wanted, Counts counts) {
  __shared__ unsigned orders[candidate_list::few];
  __shared__ amount amounts[candidate_list::few];
  __shared__ threshold found;
  const int mine = threadIdx.x;
  if (mine < list.count) orders[mine] = list.mine.order, amounts[mine] = counts(list.mine.order);
  __syncthreads();
  if (mine < list.count) {
    amount above = 0;
    unsigned equal = 0, equal_before = 0;
    for (int i = 0; i < list.count; ++i) {
      const unsigned order = orders[i];
      if (order > list.mine.order) above += amounts[i];
      equal += order == list.mine.order, equal_before += order == list.mine.order && i < mine;
    }
    if (equal_before == 0 && above < wanted && wanted <= above + equal * amounts[mine])
      found = {list.mine.order, wanted - above};
  }
  __syncthreads();
  return found;
}

/// Many candidates: digit by digit of the bits in which their orders differ.
template <class IsCandidate, class Counts>
__device__ threshold find_among_many(const candidate_list& list, wide_sums<bin_count>& bins, amount wanted,
                                     IsCandidate is_candidate, Counts counts) {
  __shared__ unsigned either, both;
  const wide_adder add(bins);
  if (threadIdx.x == 0) either = 0, both = ~0u;
  __syncthreads();
  unsigned any = 0, all = ~0u;
  list.each(is_candidate, [&](unsigned order, int) { any |= order, all &= order; });
  any = __reduce_or_sync(~0u, any), all = __reduce_and_sync(~0u, all);
  if (threadIdx.x % 32 == 0) atomicOr(&either, any), atomicAnd(&both, all);
  __syncthreads();
  int bits = 32 - __clz(either ^ both); // that are not known yet
  threshold found{bits < 32 ? both >> bits << bits : 0, wanted};
  while (bits > 0) {
    const int below = max(bits - 11, 0);
    bins.clear();
    __syncthreads();
    list.each(is_candidate, [&](unsigned order, int) {
      const unsigned digit = (order ^ found.order) >> below;
      if (digit >> (bits - below) == 0) add(bin_count - 1 - digit, counts(order)); // else others are before it
    });
    __syncthreads();
    amount in_bin[bins_each];
    for (int j = 0; j < bins_each; ++j) in_bin[j] = bins[threadIdx.x * bins_each + j];
    const auto at = find_crossing(found.rest, bin_count - 1, in_bin);
    found.order |= unsigned(bin_count - 1 - at.bin) << below, found.rest -= at.above;
    bits = below;
  }
  return found;
}

/// counts(order): what a token of this score adds.
template <class IsCandidate, class Counts>
__device__ threshold find_threshold(const candidate_list& list, wide_sums<bin_count>& bins, amount wanted,
                                    IsCandidate is_candidate, Counts counts) {
  if (list.count <= candidate_list::few) return find_among_few(list, wanted, counts);
  return find_among_many(list, bins, wanted, is_candidate, counts);
}

/// By lanes that have a candidate.
__device__ inline void append_candidate(row_work& work, float score, int token) {
  const unsigned lanes = __activemask(), before = __popc(lanes & ((1u << threadIdx.x % 32) - 1));
  unsigned first = 0;
  if (before == 0) first = atomicAdd(&work.candidate_count, unsigned(__popc(lanes)));
  const unsigned at = __shfl_sync(lanes, first, __ffs(lanes) - 1) + before;
  if (at < candidates_max) work.candidates[at] = {order_of(score), token};
}

/// add(weight) for tokens of bins before `last`, visit(weight, score, id) for those in it: a few tokens, as a rule.
template <class Add, class Visit>
__device__ void each_up_to(const place& here, int vocab_size, float best, int last, Add add, Visit visit) {
  here.each(vocab_size, [&](const batch& b) {
    if (!__any_sync(~0u, int(here.bin_of(b.most(), best)) <= last)) return;
#pragma unroll
    for (int i = 0; i < batch::size; ++i) {
      const unsigned distance = kernels::distance_of(b.score[i], best, here.draw);
      const int bin = distance >> bin_shift;
      if (bin > last) continue;
      const amount weight = kernels::weight_at(distance);
      if (bin < last)
        add(weight);
      else
        visit(weight, b.score[i], b.id(i));
    }
  });
}

} // namespace troupe::cuda::sampling
