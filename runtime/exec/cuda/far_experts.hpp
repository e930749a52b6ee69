// Routed experts that are in other processes, as a model on a GPU asks them: rows stay in device memory where those map
// it (mapped_rows), else they leave and outputs come through the host. The same bits.
#pragma once

#include "runtime/exec/cuda/mapped_rows.hpp"

#include <vector>

namespace troupe::exec {

/// One batch of rows on its way: finish() follows start(). A model that overlaps two batches has two of these.
class far_experts {
 public:
  explicit far_experts(const model::model_config& config)
      : hidden_(config.hidden_size), choices_(config.experts_per_token), mapped_(config) {}

  /// Waits for `stream` and sends the rows; `rows.x` stays valid until finish(). Errors: as expert_client's.
  result<void> start(layer_index layer, const device_rows& rows, expert_client& experts, cudaStream_t stream);
  /// Waits for the outputs; from there on asynchronous: `rows.x` += own + sum of weight * output. Nothing to do if
  /// nothing was started.
  result<void> finish(expert_client& experts, cudaStream_t stream);
  /// A step has failed: what was started is lost.
  void forget() { way_ = way::none; }

 private:
  enum class way { none, host, mapped };
  result<void> send(layer_index layer, const device_rows& rows, expert_client& experts, cudaStream_t stream);

  int hidden_, choices_;
  way way_ = way::none; ///< of the rows that are being worked on
  mapped_rows mapped_;
  float* x_ = nullptr;
  std::size_t size_ = 0;
  pinned_scratch<std::uint16_t> host_rows_;
  pinned_scratch<float> host_added_, host_weights_;
  pinned_scratch<int> host_chosen_;
  device_scratch<float> added_; // [rows, hidden]
  moe::routing choice_;
  std::vector<float> inputs_;
};

} // namespace troupe::exec
