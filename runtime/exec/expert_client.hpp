// How an engine reaches the routed experts: in this process, or in expert_shard actors elsewhere.
#pragma once

#include "runtime/core/device_segment.hpp"
#include "runtime/core/result.hpp"
#include "runtime/moe/dispatch.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace troupe::exec {

/// The rows of one layer where they are: in device memory that shards of this host map. `rows` holds [row_count,
/// hidden_size] bf16, then [row_count, experts_per_row] the int32 experts that each row chose, ascending.
struct mapped_batch {
  layer_index layer = 0;
  std::int32_t hidden_size = 0;
  std::int32_t row_count = 0;
  std::int32_t experts_per_row = 0;
  device_segment rows;
};

/// Where the outputs are: [row_count, experts_per_row, hidden_size] bf16, unweighted, in each segment those of the
/// experts that its shard owns.
struct mapped_outputs {
  std::vector<device_segment> segments;
  std::vector<std::uint32_t> segment_of; ///< [expert_count]
};

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

  /// Whether all shards can map this process's device memory, as far as is known. Then the next two calls may take the
  /// place of start() and finish().
  virtual bool can_map() const { return false; }
  /// The rows stay as they are until finish_mapped().
  virtual result<void> start_mapped(const mapped_batch& rows);
  /// The outputs stay as they are until the next batch from the same place (device_segment) is started. Errors: as
  /// finish(); disconnected, too, when a shard turns out not to map: it gets no such batch again.
  virtual result<mapped_outputs> finish_mapped();
  /// A segment of the last outputs cannot be mapped here after all: its shard gets no such batch again.
  virtual void stop_mapping(std::size_t /*segment*/, const std::string& /*why*/) {}
};

/// What an expert_shard asks of its device: the weights of its experts for all layers.
class expert_engine {
 public:
  virtual ~expert_engine() = default;

  /// Outputs of every (expert, row) pair. Errors: bad_input for an expert this engine does not own, a layer without
  /// experts, or sizes that do not fit.
  virtual result<moe::shard_output> run(const moe::shard_batch& batch) = 0;

  /// The same for rows that another process exported: outputs of the choices that are this engine's experts; others are
  /// left out. They lie in memory that this engine exports, one buffer for each place that rows come from, and stay
  /// until the next batch from there. `ticket` counts the batches of an asker: one that is older than the last from its
  /// place comes too late and is refused. Errors: unsupported, overloaded (run() would do); bad_input.
  virtual result<device_segment> run_mapped(const mapped_batch& batch, std::uint64_t ticket);
};

} // namespace troupe::exec
