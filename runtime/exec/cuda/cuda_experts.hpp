// The routed experts of one device: for messages from elsewhere (expert_engine), and for a cuda_model of the same
// device, whose rows never leave it (cuda_local_experts). Both ways give the same bits.
#pragma once

#include "runtime/exec/cuda/cuda_ffn.hpp"
#include "runtime/exec/cuda/ipc_memory.hpp"
#include "runtime/exec/cuda/step_graphs.hpp"
#include "runtime/exec/device/peer_table.hpp"
#include "runtime/exec/device/slot_passes.hpp"
#include "runtime/exec/local_expert_client.hpp"

#include <memory>
#include <vector>

namespace troupe::exec {

/// The rows of one MoE layer on the device.
struct device_rows {
  const std::uint16_t* normed = nullptr; ///< [rows, hidden] bf16, the experts' input
  int* chosen = nullptr;                 ///< [rows, experts_per_token]
  float* weights = nullptr;              ///< [rows, experts_per_token]
  const std::uint16_t* own = nullptr;    ///< [rows, hidden] bf16 of the shared experts; may be null
  cudaEvent_t own_ready = nullptr;       ///< what `own` waits for; null: it is there
  float* x = nullptr;                    ///< [rows, hidden], += own + sum of weight * output
  int rows = 0;
  bool batch_invariant = true; ///< false: many rows may get other bits than few
};

class cuda_experts final : public expert_engine {
 public:
  static result<std::unique_ptr<cuda_experts>> load(const cuda_device& device, weight_source& from,
                                                    const model::model_config& config,
                                                    std::span<const expert_index> owned);

  result<moe::shard_output> run(const moe::shard_batch& batch) override;
  result<device_segment> run_mapped(const mapped_batch& batch, std::uint64_t ticket) override;

  int device_index() const { return device_.index; }
  /// For a shard that owns all experts: asynchronous on `stream`.
  void add(layer_index layer, const device_rows& rows, cudaStream_t stream);

 private:
  cuda_experts(const cuda_device& device, const model::model_config& config)
      : device_(device), config_(config), graphs_(2 * (static_cast<std::size_t>(config.layer_count) + 1)) {}

  const device_ffn& weights_of(layer_index layer) const {
    return weights_[static_cast<std::size_t>(layer_slot_[static_cast<std::size_t>(layer)])];
  }
  /// Gives the rows of `choice` their slots and runs their experts.
  const std::uint16_t* run_chosen(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_max,
                                  cudaStream_t stream);
  /// add() for all rows at once.
  void add_sorted(const device_ffn& w, const device_rows& rows, cudaStream_t stream);
  void send_inputs(const moe::shard_batch& batch);
  void run_pass(const moe::shard_batch& batch, const slot_pass& pass, int rows_max, std::byte* outputs);
  /// Outputs of the owned ones among `chosen` of some rows, at the places of their choices.
  void run_owned(const device_ffn& w, const std::uint16_t* rows, const int* chosen, int count, int rows_max,
                 std::uint16_t* outputs);

  /// One buffer of rows that an asker exports, and the outputs for it.
  struct asker {
    mapped_segment<cuda_ipc> rows;
    std::uint64_t ticket = 0; ///< of the last batch
    exported_memory outputs;
  };
  void launch_mapped(const mapped_batch& batch, const asker& from, const std::byte* rows);

  cuda_device device_;
  model::model_config config_;
  std::vector<std::int32_t> layer_slot_;  // [layers + 1] position among the MoE layers, -1: dense
  std::vector<std::int32_t> expert_slot_; // [expert_count] position among the owned, -1: not ours
  std::vector<device_ffn> weights_;       // [MoE layers]
  int owned_count_ = 0;
  device_memory owned_;   // [owned] int, by slot
  device_memory slot_of_; // [expert_count] int, expert_slot_
  peer_table<asker> askers_;
  step_graphs graphs_; // of batches of few mapped rows; an asker has two places
  cuda_stream stream_;
  cuda_ffn ffn_;
  pinned_scratch<std::byte> host_rows_;
  pinned_scratch<int> host_slots_;
  device_scratch<std::uint16_t> inputs_, answers_;
  device_scratch<int> slots_; // rows, token_of and slot_of of a step, or of a pass over a message's pairs
};

/// expert_client of a device with all experts on it. start() and finish() are for engines of other devices.
class cuda_local_experts final : public expert_client {
 public:
  cuda_local_experts(std::unique_ptr<cuda_experts> experts, const model::model_config& config);

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    return plain_->start(layer, choice, inputs);
  }
  result<void> finish(std::span<float> out) override { return plain_->finish(out); }
  cuda_experts& on_device() { return *experts_; }

 private:
  cuda_experts* experts_; // owned by plain_
  std::unique_ptr<local_expert_client> plain_;
};

} // namespace troupe::exec
