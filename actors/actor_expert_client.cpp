#include "actors/actor_expert_client.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/ucx/host_identity.hpp"

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

/// "cuda/sm_90a NVIDIA H200 #0"
bool is_gpu(const std::string& device) { return device.starts_with("cuda/"); }

/// Of one host.
bool are_two_gpus(const std::string& a, const std::string& b) { return is_gpu(a) && is_gpu(b) && a != b; }

} // namespace

actor_expert_client::actor_expert_client(caf::actor_system& system, const supervisor_actor& supervisor,
                                         moe::element type, device mine)
    : self_(system), type_(type), mine_(std::move(mine)) {
  self_->send(supervisor, watch_cluster{caf::actor_cast<view_listener_actor>(caf::actor(self_))});
}

result<actor_expert_client::dispatch*> actor_expert_client::open() {
  invariant(open_.size() < 2, "two batches are under way at most");
  const auto deadline = clock::now() + limits::dispatch_patience;
  while (self_->has_next_message() && receive_until(clock::now())) {
  }
  while (placement_.owner.empty() && receive_until(deadline)) {
  }
  if (placement_.owner.empty()) return error{errc::disconnected, "no view of the cluster yet"};
  return &open_.emplace_back(dispatch{placement_.epoch, next_ticket_});
}

void actor_expert_client::add_part(dispatch& to, shard_id shard, caf::message message) {
  to.parts.push_back({shard, std::move(message), std::nullopt, false});
}

result<void> actor_expert_client::start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) {
  TROUPE_ASSIGN(auto* const d, open());
  const auto hidden = choice.row_count == 0 ? 0 : inputs.size() / static_cast<std::size_t>(choice.row_count);
  d->choice = &choice;
  d->plan = moe::plan_dispatch(layer, choice, inputs, static_cast<std::int32_t>(hidden), type_, placement_);
  d->answers.resize(d->plan.parts.size());
  for (auto& planned : d->plan.parts) {
    dispatch_rows message{next_ticket_++, std::move(planned.batch)};
    planned.batch.type = type_; // all that combine() wants to know of it
    add_part(*d, planned.shard, caf::make_message(std::move(message)));
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

/// Every shard gets the batch and looks for the choices that are its own.
result<void> actor_expert_client::start_mapped(const exec::mapped_batch& rows) {
  TROUPE_ASSIGN(auto* const d, open());
  for (const auto shard : owners_)
    add_part(*d, shard, caf::make_message(dispatch_mapped{next_ticket_++, net::this_host(), rows}));
  d->mapped = {std::vector<device_segment>(owners_.size()), owner_index_};
  send_pending();
  return {};
}

result<exec::mapped_outputs> actor_expert_client::finish_mapped() {
  invariant(!open_.empty(), "finish_mapped() follows start_mapped()");
  if (auto done = wait_for(open_.front()); !done) return open_.clear(), done.error();
  auto outputs = std::move(open_.front().mapped);
  last_mapped_ = std::move(open_.front().parts);
  open_.pop_front();
  return outputs;
}

void actor_expert_client::stop_mapping(std::size_t segment, const std::string& why) {
  if (segment < last_mapped_.size()) stop_mapping(last_mapped_[segment], why);
}

void actor_expert_client::stop_mapping(const part& p, const std::string& why) {
  const auto shard = shards_.find(p.shard);
  if (shard == shards_.end() || shard->second.process != p.asked) return;
  log::warn("expert_shard-{} is sent rows: {}", p.shard.value, why);
  shard->second.maps = false;
  look_who_maps();
}

result<void> actor_expert_client::wait_for(const dispatch& wanted) {
  const auto deadline = clock::now() + limits::dispatch_patience;
  while (!wanted.complete() && wanted.failure.empty() && placement_.epoch == wanted.epoch)
    if (!receive_until(deadline)) return error{errc::disconnected, "expert_shards stayed away"};
  if (wanted.unmapped) return error{errc::disconnected, wanted.failure};
  if (!wanted.failure.empty()) return error{errc::bug, "expert_shard refused its rows: " + wanted.failure};
  if (!wanted.complete()) return error{errc::disconnected, "the placement of experts has changed"};
  return {};
}

std::optional<std::int32_t> actor_expert_client::overlap_rows_min() const {
  if (!shards_apart_) return std::nullopt;
  return can_map_ ? limits::mapped_overlap_rows_min : limits::overlap_rows_min;
}

/// Handles one message; false if none came in time.
bool actor_expert_client::receive_until(time_point deadline) {
  bool received = true;
  const auto wait = std::max(duration::zero(), deadline - clock::now());
  self_->receive([&](rows_done& answer) { take(answer); }, [&](const mapped_done& answer) { take(answer); },
                 [&](const cluster_view& view) { apply(view); }, [&](const caf::down_msg& down) { lose(down.source); },
                 caf::after(std::chrono::duration_cast<std::chrono::microseconds>(wait)) >> [&] { received = false; });
  return received;
}

actor_expert_client::part* actor_expert_client::dispatch::find(std::uint64_t ticket) {
  const auto i = ticket - first_ticket;
  return ticket < first_ticket || i >= parts.size() || parts[i].done ? nullptr : &parts[i];
}

/// Answers of a step that was given up have no dispatch any more.
void actor_expert_client::take(rows_done& answer) {
  for (auto& d : open_)
    if (auto* const p = d.find(answer.ticket)) {
      d.failure += answer.failure;
      d.answers[answer.ticket - d.first_ticket] = std::move(answer.output);
      p->done = true;
    }
}

void actor_expert_client::take(const mapped_done& answer) {
  for (auto& d : open_)
    if (auto* const p = d.find(answer.ticket)) {
      d.failure += answer.failure;
      d.mapped.segments[answer.ticket - d.first_ticket] = answer.outputs;
      p->done = true;
      if (answer.failure.empty() || (answer.code != errc::unsupported && answer.code != errc::overloaded)) continue;
      d.unmapped = true;
      stop_mapping(*p, answer.failure);
    }
}

void actor_expert_client::apply(const cluster_view& view) {
  if (view.epoch < view_epoch_) return;
  view_epoch_ = view.epoch;
  placement_ = view.placement;
  owners_ = placement_.owner;
  std::ranges::sort(owners_);
  owners_.erase(std::unique(owners_.begin(), owners_.end()), owners_.end()); // clang 14 cannot read ranges::unique
  owner_index_.clear();
  for (const auto owner : placement_.owner)
    owner_index_.push_back(static_cast<std::uint32_t>(std::ranges::lower_bound(owners_, owner) - owners_.begin()));
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
    next.emplace(shard.shard, connected_shard{shard.process, shard.handle,
                                              host_of(shard.handle) == host_of(self_) && is_gpu(shard.device)});
  }
  shards_ = std::move(next);
  look_who_maps();
  send_pending();
}

void actor_expert_client::lose(const caf::actor_addr& address) {
  std::erase_if(shards_, [&](const auto& entry) { return entry.second.handle.address() == address; });
  look_who_maps();
}

void actor_expert_client::look_who_maps() {
  const auto maps = [&](shard_id owner) {
    const auto shard = shards_.find(owner);
    return shard != shards_.end() && shard->second.maps;
  };
  can_map_ = is_gpu(mine_.name) && !owners_.empty() && std::ranges::all_of(owners_, maps);
}

/// Asks for every part that nobody works on.
void actor_expert_client::send_pending() {
  for (auto& d : open_)
    for (auto& p : d.parts) {
      const auto shard = shards_.find(p.shard);
      if (p.done || shard == shards_.end() || p.asked == shard->second.process) continue;
      p.asked = shard->second.process;
      self_->send(caf::actor_cast<caf::actor>(shard->second.handle), p.message);
    }
}

bool actor_expert_client::dispatch::complete() const {
  return std::all_of(parts.begin(), parts.end(), [](const auto& p) { return p.done; });
}

} // namespace troupe
