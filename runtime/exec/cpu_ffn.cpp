#include "runtime/exec/cpu_ffn.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::exec {

result<void> cpu_ffn::run(const layer_weights& w, layer_index layer, std::int64_t rows, std::span<const float> normed,
                          std::span<float> out, expert_client& experts) {
  if (!w.gate) return run_own(w, rows, normed.data(), out.data()), result<void>{};

  choice_.row_count = static_cast<std::int32_t>(rows);
  choice_.experts_per_row = config_.experts_per_token;
  choice_.experts.resize(static_cast<std::size_t>(rows * choice_.experts_per_row));
  choice_.weights.resize(choice_.experts.size());
  w.gate->route(*device_.pool, normed.data(), config_.hidden_size, rows, choice_.experts.data(),
                choice_.weights.data());

  TROUPE_TRY(experts.start(layer, choice_, normed));
  run_own(w, rows, normed.data(), out.data());
  return experts.finish(out);
}

void cpu_ffn::run_own(const layer_weights& w, std::int64_t rows, const float* normed, float* out) {
  const std::int64_t hidden = config_.hidden_size;
  if (w.ffn.gate.rows() == 0) return void(std::fill_n(out, rows * hidden, 0.0f));
  all_rows_.resize(static_cast<std::size_t>(rows));
  std::iota(all_rows_.begin(), all_rows_.end(), 0);
  const kernels::ffn_job job{.weights = &w.ffn, .rows = all_rows_, .y = reinterpret_cast<std::byte*>(out)};
  kernel_.run(*device_.pool, kernels::row_view::of(normed, hidden), {&job, 1});
}

} // namespace troupe::exec
