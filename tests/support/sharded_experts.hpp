// An expert_client for tests: real dispatch and combine over in-process expert engines, with failures on demand.
#pragma once

#include "runtime/exec/expert_client.hpp"
#include "runtime/moe/dispatch.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::testing {

class sharded_experts final : public exec::expert_client {
 public:
  using shard_list = std::vector<std::unique_ptr<exec::expert_engine>>;

  sharded_experts(shard_list shards, std::int32_t expert_count, std::int32_t hidden_size, moe::element type)
      : shards_(std::move(shards)), hidden_size_(hidden_size), type_(type),
        where_(moe::place_evenly(expert_count, static_cast<std::int32_t>(shards_.size()), 1)) {}

  /// Asked before every layer: an error is what finish() returns.
  std::function<std::optional<error>()> fault = [] { return std::nullopt; };

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    choice_ = &choice;
    plan_ = moe::plan_dispatch(layer, choice, inputs, hidden_size_, type_, where_);
    return {};
  }

  result<void> finish(std::span<float> out) override {
    if (auto broken = fault()) return *std::move(broken);
    std::vector<moe::shard_output> answers;
    for (const auto& part : plan_.parts) {
      TROUPE_ASSIGN(auto answer, shards_[part.shard.value]->run(part.batch));
      answers.push_back(std::move(answer));
    }
    return moe::combine(plan_, *choice_, answers, out);
  }

 private:
  shard_list shards_;
  std::int32_t hidden_size_;
  moe::element type_;
  moe::placement where_;
  const moe::routing* choice_ = nullptr;
  moe::dispatch_plan plan_;
};

} // namespace troupe::testing
