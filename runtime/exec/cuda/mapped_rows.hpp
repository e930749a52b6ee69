// Rows of one layer and their routed experts in other processes of this host, which map them: rows stay in memory that
// this engine exports, outputs in memory that the shards export, and the sum is taken here. The bits of far_experts,
// whose rows leave through the host.
//
// Why nobody reads what is being written:
//   - a process writes its own memory only
//   - rows stay as they are from name() until wait(), and are written again in the order of one stream: after the sum
//   - a shard writes the outputs of a place when the next batch from there arrives, and that is sent after the sum, too
//   - a batch that was given up may find other rows; its answer finds nobody, and it is computed before the batch that
//     takes its place, or refused (tickets grow), so what it wrote is overwritten before anybody reads there
#pragma once

#include "runtime/exec/cuda/cuda_experts.hpp"
#include "runtime/exec/cuda/ipc_memory.hpp"
#include "runtime/exec/device/peer_table.hpp"

#include <vector>

namespace troupe::exec {

/// The asker's side of one batch at a time: keep(), name(), wait(), add(). keep() and add() only launch, the same for
/// the same number of rows; the other two only talk.
class mapped_rows {
 public:
  explicit mapped_rows(const model::model_config& config);

  /// Whether batches of so many rows may take this way: all shards map, they fit, and there is memory for them.
  bool possible(int rows, const expert_client& experts);
  /// Copies rows and choices to where shards see them; weights and own outputs aside, since the next rows take their
  /// place.
  void keep(const device_rows& rows, cudaStream_t stream);
  /// Waits for `stream` and tells the shards of the rows that were kept. Errors: as expert_client's.
  result<void> name(layer_index layer, int rows, expert_client& experts, cudaStream_t stream);
  /// Waits for the outputs; false if no rows were named. Errors: as expert_client's; disconnected when outputs cannot
  /// be mapped here: the experts are told.
  result<bool> wait(expert_client& experts, cudaStream_t stream);
  /// x [rows, hidden] += own + sum of weight * output.
  void add(float* x, int rows, cudaStream_t stream) const;
  /// A step has failed: what was named is lost.
  void forget() { named_ = 0; }

 private:
  int* chosen(int rows) const;
  result<const std::uint16_t*> find_segment(const device_segment& s);
  void tell_device(std::vector<const std::uint16_t*> outputs_of, cudaStream_t stream);

  int hidden_, choices_, experts_;
  bool has_own_; ///< shared experts
  bool allowed_;
  int named_ = 0; ///< rows that shards work on
  exported_memory rows_;
  device_scratch<float> weights_;
  device_scratch<std::uint16_t> own_;
  peer_table<mapped_segment<cuda_ipc>> shards_;
  std::vector<const std::uint16_t*> outputs_of_; // [experts]
  pinned_scratch<const std::uint16_t*> host_outputs_of_;
  device_scratch<const std::uint16_t*> device_outputs_of_; // as outputs_of_
};

} // namespace troupe::exec
