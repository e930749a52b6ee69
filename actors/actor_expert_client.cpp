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

namespace {

/// "10.0.0.7" of "ucx://10.0.0.7:41000/3f..."; all of it of a node without address.
template <class Handle>
std::string host_of(const Handle& whom) {
  const auto node = to_string(whom->node());
  const auto host = node.find("://");
  return host == node.npos ? node : node.substr(0, node.find_first_of(":/", host + 3));
}

/// Of one host, "cuda/sm_90a NVIDIA H200 #0" and "... #1".
bool are_two_gpus(const std::string& a, const std::string& b) {
  return a.starts_with("cuda/") && b.starts_with("cuda/") && a != b;
}

} // namespace

actor_expert_client::actor_expert_client(caf::actor_system& system, const supervisor_actor& supervisor,
                                         moe::element type, device mine)
    : self_(system), type_(type), mine_(std::move(mine)) {
  self_->send(supervisor, watch_cluster{caf::actor_cast<view_listener_actor>(caf::actor(self_))});
}

result<void> actor_expert_client::start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) {
  invariant(open_.size() < 2, "two batches are under way at most");
  const auto deadline = clock::now() + limits::dispatch_patience;
  while (self_->has_next_message() && receive_until(clock::now())) {
  }
  while (placement_.owner.empty() && receive_until(deadline)) {
  }
  if (placement_.owner.empty()) return error{errc::disconnected, "no view of the cluster yet"};

  const auto hidden = choice.row_count == 0 ? 0 : inputs.size() / static_cast<std::size_t>(choice.row_count);
  auto plan = moe::plan_dispatch(layer, choice, inputs, static_cast<std::int32_t>(hidden), type_, placement_);
  auto& d = open_.emplace_back(dispatch{&choice, std::move(plan), placement_.epoch, next_ticket_});
  d.answers.resize(d.plan.parts.size());
  for (auto& planned : d.plan.parts) {
    dispatch_rows message{next_ticket_++, std::move(planned.batch)};
    planned.batch.type = type_; // all that combine() wants to know of it
    d.parts.push_back({caf::make_message(std::move(message)), std::nullopt, false});
  }
  send_pending();
  return {};
}

result<void> actor_expert_client::finish(std::span<float> out) {
  invariant(!open_.empty(), "finish() follows start()");
  const auto& first = open_.front();
  auto done = wait_for(first);
  if (done) done = moe::combine(first.plan, *first.choice, first.answers, out);
  done ? open_.pop_front() : open_.clear(); // answers that still come find nobody
  return done;
}

result<void> actor_expert_client::wait_for(const dispatch& wanted) {
  const auto deadline = clock::now() + limits::dispatch_patience;
  while (!wanted.complete() && wanted.failure.empty() && placement_.epoch == wanted.epoch)
    if (!receive_until(deadline)) return error{errc::disconnected, "expert_shards stayed away"};
  if (!wanted.failure.empty()) return error{errc::bug, "expert_shard refused its rows: " + wanted.failure};
  if (!wanted.complete()) return error{errc::disconnected, "the placement of experts has changed"};
  return {};
}

std::optional<std::int32_t> actor_expert_client::overlap_rows_min() const {
  return shards_apart_ ? std::optional(limits::overlap_rows_min) : std::nullopt;
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

/// Answers of a step that was given up have no dispatch any more.
void actor_expert_client::take(rows_done& answer) {
  for (auto& d : open_) {
    const auto i = answer.ticket - d.first_ticket;
    if (answer.ticket < d.first_ticket || i >= d.parts.size() || d.parts[i].done) continue;
    d.failure += answer.failure;
    d.answers[i] = std::move(answer.output);
    d.parts[i].done = true;
  }
}

void actor_expert_client::apply(const cluster_view& view) {
  if (view.epoch < view_epoch_) return;
  view_epoch_ = view.epoch;
  placement_ = view.placement;
  std::map<shard_id, connected_shard> next;
  shards_apart_ = mine_.own_cores;
  for (const auto& shard : view.shards) {
    shards_apart_ |= host_of(shard.handle) != host_of(self_) || are_two_gpus(mine_.name, shard.device);
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
  for (auto& d : open_)
    for (std::size_t i = 0; i < d.parts.size(); ++i) {
      auto& p = d.parts[i];
      const auto shard = shards_.find(d.plan.parts[i].shard);
      if (p.done || shard == shards_.end() || p.asked == shard->second.process) continue;
      p.asked = shard->second.process;
      self_->send(caf::actor_cast<caf::actor>(shard->second.handle), p.message);
    }
}

bool actor_expert_client::dispatch::complete() const {
  return std::all_of(parts.begin(), parts.end(), [](const auto& p) { return p.done; });
}

} // namespace troupe
