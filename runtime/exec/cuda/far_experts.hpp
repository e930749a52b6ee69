// Routed experts that are somewhere else, as a model on a GPU asks them: rows leave and outputs come through the host.
// Where shards map device memory, mapped_rows takes its place.
#pragma once

#include "runtime/exec/cuda/cuda_experts.hpp"

#include <vector>

namespace troupe::exec {

/// One batch of rows on its way: finish() follows start(). A model that overlaps two batches has two of these.
class far_experts {
 public:
  explicit far_experts(const model::model_config& config)
      : hidden_(config.hidden_size), choices_(config.experts_per_token) {}

  /// Waits for `stream` and sends the rows; `rows.x` stays valid until finish(). Errors: as expert_client's.
  result<void> start(layer_index layer, const device_rows& rows, expert_client& experts, cudaStream_t stream);
  /// Waits for the outputs; from there on asynchronous: `rows.x` += own + sum of weight * output. Nothing to do if
  /// nothing was started.
  result<void> finish(expert_client& experts, cudaStream_t stream);
  /// A step has failed: what was started is lost.
  void forget() { x_ = nullptr; }

 private:
  int hidden_, choices_;
  float* x_ = nullptr; ///< of the rows that are on their way
  std::size_t size_ = 0;
  pinned_scratch<std::uint16_t> host_rows_;
  pinned_scratch<float> host_added_, host_weights_;
  pinned_scratch<int> host_chosen_;
  device_scratch<float> added_; // [rows, hidden]
  moe::routing choice_;
  std::vector<float> inputs_;
};

} // namespace troupe::exec
