#include "actors/actor_expert_client.hpp"

#include "runtime/core/limits.hpp"

#include <caf/actor_cast.hpp>
#include <caf/after.hpp>
#include <caf/system_messages.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace troupe {

actor_expert_client::actor_expert_client(caf::actor_system& system, const supervisor_actor& supervisor,
                                         moe::element type)
    : self_(system), type_(type) {
  self_->send(supervisor, watch_cluster{caf::actor_cast<view_listener_actor>(caf::actor(self_))});
}

result<void> actor_expert_client::start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) {
  const auto deadline = clock::now() + limits::dispatch_patience;
  while (receive_until(clock::now())) {
  }
  while (placement_.owner.empty() && receive_until(deadline)) {
  }
  if (placement_.owner.empty()) return error{errc::disconnected, "no view of the cluster yet"};

  first_ticket_ += parts_.size();
  parts_.clear();
  failure_.clear();
  choice_ = &choice;
  const auto hidden = choice.row_count == 0 ? 0 : inputs.size() / static_cast<std::size_t>(choice.row_count);
  plan_ = moe::plan_dispatch(layer, choice, inputs, static_cast<std::int32_t>(hidden), type_, placement_);
  answers_.assign(plan_.parts.size(), {});
  for (auto& planned : plan_.parts) {
    dispatch_rows message{first_ticket_ + parts_.size(), std::move(planned.batch)};
    planned.batch.type = type_; // all that combine() wants to know of it
    parts_.push_back({caf::make_message(std::move(message)), std::nullopt, false});
  }
  send_pending();
  return {};
}

result<void> actor_expert_client::finish(std::span<float> out) {
  const auto deadline = clock::now() + limits::dispatch_patience;
  const auto epoch = placement_.epoch;
  while (!complete() && failure_.empty() && placement_.epoch == epoch)
    if (!receive_until(deadline)) return error{errc::disconnected, "expert_shards stayed away"};
  if (!failure_.empty()) return error{errc::bug, "expert_shard refused its rows: " + failure_};
  if (!complete()) return error{errc::disconnected, "the placement of experts has changed"};
  return moe::combine(plan_, *choice_, answers_, out);
}

/// Handles one message; false if none came in time.
bool actor_expert_client::receive_until(time_point deadline) {
  bool received = true;
  const auto wait = std::max(duration::zero(), deadline - clock::now());
  self_->receive([&](rows_done& answer) { take(answer); }, [&](const cluster_view& view) { apply(view); },
                 [&](const caf::down_msg& down) { lose(down.source); },
                 caf::after(std::chrono::duration_cast<std::chrono::microseconds>(wait)) >> [&] { received = false; });
  return received;
}

void actor_expert_client::take(rows_done& answer) {
  const auto i = answer.ticket - first_ticket_;
  if (answer.ticket < first_ticket_ || i >= parts_.size() || parts_[i].done) return; // of a step that was given up
  if (!answer.failure.empty()) failure_ = answer.failure;
  answers_[i] = std::move(answer.output);
  parts_[i].done = true;
}

void actor_expert_client::apply(const cluster_view& view) {
  if (view.epoch < view_epoch_) return;
  view_epoch_ = view.epoch;
  placement_ = view.placement;
  std::map<shard_id, connected_shard> next;
  for (const auto& shard : view.shards) {
    const auto known = shards_.find(shard.shard);
    if (known != shards_.end() && known->second.process == shard.process) {
      next.insert(*known);
      continue;
    }
    self_->monitor(shard.handle);
    next.emplace(shard.shard, connected_shard{shard.process, shard.handle});
  }
  shards_ = std::move(next);
  send_pending();
}

void actor_expert_client::lose(const caf::actor_addr& address) {
  std::erase_if(shards_, [&](const auto& entry) { return entry.second.handle.address() == address; });
}

/// Asks for every part that nobody works on.
void actor_expert_client::send_pending() {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    auto& p = parts_[i];
    const auto shard = shards_.find(plan_.parts[i].shard);
    if (p.done || shard == shards_.end() || p.asked == shard->second.process) continue;
    p.asked = shard->second.process;
    self_->send(caf::actor_cast<caf::actor>(shard->second.handle), p.message);
  }
}

bool actor_expert_client::complete() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const auto& p) { return p.done; });
}

} // namespace troupe
