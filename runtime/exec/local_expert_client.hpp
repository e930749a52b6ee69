// expert_client on expert engines of this process: `serve` in one process, benches and tests.
// Rows take the same way as to actors elsewhere (dispatch, rounding, combine), so that bits are the same.
#pragma once

#include "runtime/exec/expert_client.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace troupe::exec {

class local_expert_client final : public expert_client {
 public:
  /// `shards[s]` owns the experts that `where` gives to shard s.
  local_expert_client(std::vector<std::unique_ptr<expert_engine>> shards, moe::placement where,
                      std::int32_t hidden_size, moe::element type);

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override;
  result<void> finish(std::span<float> out) override;

 private:
  std::vector<std::unique_ptr<expert_engine>> shards_;
  moe::placement where_;
  std::int32_t hidden_size_;
  moe::element type_;
  struct dispatch {
    const moe::routing* choice;
    moe::dispatch_plan plan;
  };
  std::deque<dispatch> open_; ///< oldest first
};

} // namespace troupe::exec
