// How an engine reaches the routed experts: in this process, or in expert_shard actors elsewhere.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/moe/dispatch.hpp"

#include <cstdint>
#include <optional>
#include <span>

namespace troupe::exec {

/// Two calls per MoE layer, so that the engine computes the shared expert while the routed ones work; and two batches
/// at a time where overlap_rows_min() says so, so that it computes attention, too. Any error drops what was started.
class expert_client {
 public:
  virtual ~expert_client() = default;

  /// Sends the rows to their experts. `inputs` [rows, hidden_size] and `choice` must live until the
  /// finish() that belongs to it.
  virtual result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) = 0;

  /// Waits for what was started first and adds the weighted expert outputs to `out` [rows, hidden_size] in ascending
  /// expert order.
  /// Errors: disconnected when a shard stayed away longer than limits::dispatch_timeout.
  virtual result<void> finish(std::span<float> out) = 0;

  /// From how many rows on a step should go through the layers as two halves, one computing attention while the other's
  /// experts work. Without a value only one start() may come before its finish().
  virtual std::optional<std::int32_t> overlap_rows_min() const { return std::nullopt; }
};

/// What an expert_shard asks of its device: the weights of its experts for all layers.
class expert_engine {
 public:
  virtual ~expert_engine() = default;

  /// Outputs of every (expert, row) pair. Errors: bad_input for an expert this engine does not own, a layer without
  /// experts, or sizes that do not fit.
  virtual result<moe::shard_output> run(const moe::shard_batch& batch) = 0;
};

} // namespace troupe::exec
