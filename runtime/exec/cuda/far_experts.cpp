#include "runtime/exec/cuda/far_experts.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cuda/rows.hpp"

#include <algorithm>
#include <utility>

namespace troupe::exec {
namespace {

template <class T>
T* fetch(pinned_scratch<T>& to, const T* from, std::size_t count, cudaStream_t stream) {
  auto* host = to.reserve(count);
  must(cudaMemcpyAsync(host, from, count * sizeof(T), cudaMemcpyDeviceToHost, stream));
  return host;
}

} // namespace

result<void> far_experts::start(layer_index layer, const device_rows& rows, expert_client& experts,
                                cudaStream_t stream) {
  const auto choices = static_cast<std::size_t>(rows.rows) * choices_;
  size_ = static_cast<std::size_t>(rows.rows) * hidden_;
  const auto* chosen = fetch(host_chosen_, rows.chosen, choices, stream);
  const auto* weights = fetch(host_weights_, rows.weights, choices, stream);
  const auto* normed = fetch(host_rows_, rows.normed, size_, stream);
  auto* added = host_added_.reserve(size_);
  if (rows.own) {
    if (rows.own_ready) must(cudaStreamWaitEvent(stream, rows.own_ready));
    auto* own = added_.reserve(size_);
    must(cuda::widen_rows(rows.own, static_cast<std::int64_t>(size_), own, stream));
    fetch(host_added_, static_cast<const float*>(own), size_, stream);
  }
  must(cudaStreamSynchronize(stream));
  if (!rows.own) std::fill_n(added, size_, 0.0f);

  choice_.row_count = rows.rows, choice_.experts_per_row = choices_;
  choice_.experts.assign(chosen, chosen + choices);
  choice_.weights.assign(weights, weights + choices);
  inputs_.resize(size_);
  kernels::from_bf16(normed, inputs_.data(), static_cast<std::int64_t>(size_));
  TROUPE_TRY(experts.start(layer, choice_, inputs_));
  x_ = rows.x;
  return {};
}

result<void> far_experts::finish(expert_client& experts, cudaStream_t stream) {
  auto* const x = std::exchange(x_, nullptr);
  if (!x) return {};
  auto* added = host_added_.reserve(size_);
  TROUPE_TRY(experts.finish({added, size_}));
  must(cudaMemcpyAsync(added_.reserve(size_), added, size_ * sizeof(float), cudaMemcpyHostToDevice, stream));
  must(cuda::add_rows(added_.get(), static_cast<std::int64_t>(size_), x, stream));
  return {};
}

} // namespace troupe::exec
