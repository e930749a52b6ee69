// Math      y = ( silu(x gateᵀ) * (x upᵀ) ) downᵀ for each job; the product is rounded once, to the compute type
// Shapes    x [n, hidden] f32; gate, up [width, hidden], down [hidden, width] packed; y [n, hidden] f32
// Roofline  decode: 3 * width * hidden * bytes(W) for every expert hit, read once; prefill: 6 n width hidden flop
// Mapping   two task lists with one barrier: (job, 32 columns of the product), then (job, 32 columns of y). 32 products
//           are one input tile of the down projection, so the first list writes the second's packed input
#include "kernels/cpu/expert_ffn.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/swiglu.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::kernels {
namespace {

constexpr std::int64_t rows_per_task = 256; // partial sums of gate and up: 64 KB

/// A block of outputs of one job; only rows are split further, inside a task.
struct block_task {
  std::size_t job;
  std::int64_t block;
};

void list_tasks(std::span<const ffn_job> jobs, matrix ffn_weights::*which, std::vector<block_task>& tasks) {
  tasks.clear();
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (std::int64_t b = 0; !jobs[j].rows.empty() && b < (jobs[j].weights->*which).blocks(); ++b)
      tasks.push_back({j, b});
}

/// Calls fn(first, count) for pieces of [0, n).
template <class Fn>
void for_row_chunks(std::int64_t n, Fn fn) {
  for (std::int64_t first = 0; first < n; first += rows_per_task) fn(first, std::min(rows_per_task, n - first));
}

float* sums(std::int64_t rows, int slot) {
  return thread_scratch<float>(static_cast<std::size_t>(padded_rows(rows) * tile_outputs), slot);
}

void make_products(const ffn_weights& w, const packed_rows& x, std::int64_t block, packed_rows& hidden) {
  for_row_chunks(x.rows(), [&](std::int64_t first, std::int64_t count) {
    float* gate = sums(count, 0);
    float* up = sums(count, 1);
    w.gate.multiply_block(x, first, count, block, gate);
    w.up.multiply_block(x, first, count, block, up);
    swiglu_for(w.gate.packed_for().set)(gate, up, count * tile_outputs);
    hidden.write_tile(first, count, block, gate); // past the width both factors are zero
  });
}

void project_down(const ffn_job& job, const packed_rows& hidden, std::int64_t block) {
  const auto& down = job.weights->down;
  const auto column = block * tile_outputs, width = std::min(tile_outputs, down.rows() - column);
  for_row_chunks(hidden.rows(), [&](std::int64_t first, std::int64_t count) {
    float* acc = sums(count, 0);
    down.multiply_block(hidden, first, count, block, acc);
    const auto at = first * down.rows() + column;
    if (job.y_type == tensor_type::f32) {
      copy_sums(acc, count, width, reinterpret_cast<float*>(job.y) + at, down.rows());
    } else if (auto* to = reinterpret_cast<std::uint16_t*>(job.y) + at; width == tile_outputs) {
      row_kernels_here().to_bf16_tiles(acc, count, reinterpret_cast<std::byte*>(to), down.rows() * 2);
    } else {
      for (std::int64_t r = 0; r < count; ++r) to_bf16(acc + r * tile_outputs, to + r * down.rows(), width);
    }
  });
}

} // namespace

swiglu_kernel swiglu_for(isa set) { return set == isa::avx2 ? detail::swiglu_avx2 : detail::swiglu_avx512; }

void expert_ffn::run(thread_pool& pool, const row_view& x, std::span<const ffn_job> jobs) {
  while (inputs_.size() < jobs.size()) inputs_.emplace_back(target_), hidden_.emplace_back(target_);
  const auto prepare = [&](std::int64_t j) {
    const auto& job = jobs[static_cast<std::size_t>(j)];
    check(job.weights->gate.packed_for() == target_, "expert packed for another target");
    inputs_[j].gather(x, job.rows, job.weights->gate.cols());
    hidden_[j].resize(inputs_[j].rows(), job.weights->gate.rows());
  };
  pool.parallel_for(static_cast<std::int64_t>(jobs.size()), prepare);

  std::vector<block_task> tasks;
  list_tasks(jobs, &ffn_weights::gate, tasks);
  pool.parallel_for(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    const auto [job, block] = tasks[static_cast<std::size_t>(i)];
    make_products(*jobs[job].weights, inputs_[job], block, hidden_[job]);
  });

  list_tasks(jobs, &ffn_weights::down, tasks);
  pool.parallel_for(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i) {
    const auto [job, block] = tasks[static_cast<std::size_t>(i)];
    project_down(jobs[job], hidden_[job], block);
  });
}

} // namespace troupe::kernels
