#include "runtime/exec/cpu_ffn.hpp"

#include <algorithm>
#include <numeric>

namespace troupe::exec {

result<void> cpu_ffn::start(const layer_weights& w, layer_index layer, std::int64_t rows, std::span<const float> normed,
                            std::span<float> out, moe::routing& choice, expert_client& experts) {
  if (!w.gate) return run_own(w, rows, normed.data(), out.data()), result<void>{};

  choice.row_count = static_cast<std::int32_t>(rows);
  choice.experts_per_row = config_.experts_per_token;
  choice.experts.resize(static_cast<std::size_t>(rows * choice.experts_per_row));
  choice.weights.resize(choice.experts.size());
  w.gate->route(*device_.pool, normed.data(), config_.hidden_size, rows, choice.experts.data(), choice.weights.data());

  TROUPE_TRY(experts.start(layer, choice, normed));
  run_own(w, rows, normed.data(), out.data());
  return {};
}

result<void> cpu_ffn::finish(const layer_weights& w, std::span<float> out, expert_client& experts) {
  return w.gate ? experts.finish(out) : result<void>{};
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
