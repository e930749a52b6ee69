// Rows of one layer and their routed experts in other processes of this host, which map them: rows stay in memory that
// this engine exports, outputs in memory that the shards export, and the sum is taken here.
//
// Why nobody reads what is being written:
//   - a process writes its own memory only
//   - rows stay as they are from start() until finish(), and are written again in the order of one stream: after the
//   sum
//   - a shard writes the outputs of a place when the next batch from there arrives, and that is sent after the sum, too
//   - a batch that was given up may find other rows; its answer finds nobody, and it is computed before the batch that
//     takes its place, or refused (tickets grow), so what it wrote is overwritten before anybody reads there
#pragma once

#include "runtime/exec/cuda/cuda_experts.hpp"
#include "runtime/exec/cuda/ipc_memory.hpp"
#include "runtime/exec/device/peer_table.hpp"

#include <vector>

namespace troupe::exec {

/// The asker's side of one batch at a time.
class mapped_rows {
 public:
  explicit mapped_rows(const model::model_config& config);

  /// Whether such a batch can be started: all shards map, it fits, and there is memory for it.
  bool possible(int rows, const expert_client& experts);
  /// Waits for `stream` and names the rows to the shards; `rows.x` stays valid until finish(). Errors: as
  /// expert_client's.
  result<void> start(layer_index layer, const device_rows& rows, expert_client& experts, cudaStream_t stream);
  /// Waits for the outputs; from there on asynchronous: `rows.x` += own + sum of weight * output. Errors: as
  /// expert_client's; disconnected when outputs cannot be mapped here: the experts are told.
  result<void> finish(expert_client& experts, cudaStream_t stream);

 private:
  void keep(const device_rows& rows, cudaStream_t stream);
  /// Where outputs begin here.
  result<const std::uint16_t*> find_segment(const device_segment& s);
  void tell_device(std::vector<const std::uint16_t*> outputs_of, cudaStream_t stream);

  int hidden_, choices_, experts_;
  bool allowed_;
  exported_memory rows_;
  device_rows kept_; ///< copies of what others overwrite meanwhile
  device_scratch<float> weights_;
  device_scratch<std::uint16_t> own_;
  peer_table<mapped_segment<cuda_ipc>> shards_;
  std::vector<const std::uint16_t*> outputs_of_; // [experts]
  pinned_scratch<const std::uint16_t*> host_outputs_of_;
  device_scratch<const std::uint16_t*> device_outputs_of_; // as outputs_of_
};

} // namespace troupe::exec
