#include "runtime/exec/local_expert_client.hpp"

#include <algorithm>
#include <utility>

namespace troupe::exec {

local_expert_client::local_expert_client(std::vector<std::unique_ptr<expert_engine>> shards, moe::placement where,
                                         std::int32_t hidden_size, moe::element type)
    : shards_(std::move(shards)), where_(std::move(where)), hidden_size_(hidden_size), type_(type) {
  for (const auto shard : where_.owner) invariant(shard.value < shards_.size(), "a placement names shards that exist");
}

result<void> local_expert_client::start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) {
  open_.push_back({&choice, moe::plan_dispatch(layer, choice, inputs, hidden_size_, type_, where_)});
  return {};
}

/// The experts run here and not in start(): engine and experts may share one thread pool, whose loops do not nest.
result<void> local_expert_client::finish(std::span<float> out) {
  invariant(!open_.empty(), "finish() follows start()");
  const auto first = std::move(open_.front());
  open_.pop_front();
  std::vector<moe::shard_output> answers;
  for (const auto& part : first.plan.parts) {
    auto answer = shards_[part.shard.value]->run(part.batch);
    if (!answer) return open_.clear(), answer.error();
    answers.push_back(std::move(*answer));
  }
  return moe::combine(first.plan, *first.choice, answers, out);
}

} // namespace troupe::exec
