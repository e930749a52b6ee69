// Every conversation of the company, one sentence a signature. Handles narrow by assignment: a router_actor is also a
// token_listener_actor and a view_listener_actor.
//
//   gateway ──submit──▶ router ──admit──▶ kv_cache ──dispatch──▶ expert_shard
//      ◀──── tokens ────  ◀──── tokens ────   ◀───── rows ──────
//                  supervisor: joins, progress, views of who serves, restarts; never in the token path
#pragma once

#include "actors/messages.hpp"

#include <caf/typed_actor.hpp>

#include <string>
#include <tuple>
#include <vector>

namespace troupe {

/// Whoever gets the tokens of requests it has sent: gateways from the router, the router from a kv_cache.
using token_listener_actor = caf::typed_actor<
    // New events of this listener's requests.
    caf::reacts_to<tokens_emitted>>;

/// A client's request, and who gets its tokens.
struct submit_request {
  generation_request request;
  token_listener_actor listener;

  auto fields() { return std::tie(request, listener); }
};

/// A request for this kv_cache, and the router that owns it.
struct admit_request {
  generation_request request;
  token_listener_actor owner;

  auto fields() { return std::tie(request, owner); }
};

/// Owns the experts placed on one device, for all layers; stateless between messages.
using expert_shard_actor = caf::typed_actor<
    // Answers with the outputs of every (expert, row) pair of the batch.
    caf::replies_to<dispatch_rows>::with<rows_done>,
    // The same for rows that stay in device memory of this host; refuses what it cannot map.
    caf::replies_to<dispatch_mapped>::with<mapped_done>,
    // Sends its progress to the supervisor.
    caf::reacts_to<report_atom>,
    // Leaves the view of the cluster, answers what is already in its mailbox, then says so and ends.
    caf::replies_to<drain_atom>::with<drained_atom>>;

/// Owns the latent cache of its sequences and runs the continuous-batching loop, in a thread of its own.
using kv_cache_actor = caf::typed_actor<
    // Queues the request; a refusal comes as an event with finish_reason::failed.
    caf::reacts_to<admit_request>,
    // Frees the request before the next step; no event follows.
    caf::reacts_to<cancel_request>,
    // Runs one step of the batch, sends its events, and itself the next step while there is work.
    caf::reacts_to<step_atom>,
    // Sends its progress to the supervisor.
    caf::reacts_to<report_atom>,
    // Leaves the view of the cluster, by which the routers take its requests back, then says so and ends.
    caf::replies_to<drain_atom>::with<drained_atom>>;

/// One expert_shard that serves.
struct shard_ref {
  shard_id shard;
  process_id process;
  std::string address; ///< where it is published, for people
  std::string device;  ///< as in role_ready
  expert_shard_actor handle;

  auto fields() { return std::tie(shard, process, address, device, handle); }
};

/// One kv_cache that serves.
struct kv_cache_ref {
  process_id process;
  kv_cache_actor handle;

  auto fields() { return std::tie(process, handle); }
};

/// Who serves now. Sent to every watcher at once when it changes; the epoch only grows.
struct cluster_view {
  std::uint64_t epoch = 0;
  moe::placement placement;
  std::vector<shard_ref> shards;
  std::vector<kv_cache_ref> kv_caches;

  auto fields() { return std::tie(epoch, placement, shards, kv_caches); }
};

using view_listener_actor = caf::typed_actor<
    // The cluster has changed.
    caf::reacts_to<cluster_view>>;

struct watch_cluster {
  view_listener_actor listener;

  auto fields() { return std::tie(listener); }
};

/// The role has loaded its weights and serves.
struct kv_cache_ready {
  process_id process;
  std::string device;
  kv_cache_actor handle;

  auto fields() { return std::tie(process, device, handle); }
};

struct expert_shard_ready {
  process_id process;
  shard_id shard;
  std::string device;
  std::string address;
  expert_shard_actor handle;

  auto fields() { return std::tie(process, shard, device, address, handle); }
};

/// Membership, placement, restarts.
using supervisor_actor = caf::typed_actor<
    // Gives a starting role its number and its part of the model; refuses names it does not expect.
    caf::replies_to<join_cluster>::with<role_assignment>,
    // A role serves: it is in the next view.
    caf::reacts_to<role_ready>, caf::reacts_to<kv_cache_ready>, caf::reacts_to<expert_shard_ready>,
    // A role moves (or does not: health is progress).
    caf::reacts_to<role_progress>,
    // A role leaves: answers when every watcher has been sent a view without it.
    caf::replies_to<role_draining>::with<drained_atom>,
    // A role process has ended: starts its replacement unless the cluster stops or it dies too often.
    caf::reacts_to<process_exited>,
    // Sends the listener the present view and every later one.
    caf::reacts_to<watch_cluster>,
    // Starts the replacements whose delay is over.
    caf::reacts_to<retry_atom>,
    // Kills processes that do not move, and looks again in a while.
    caf::reacts_to<report_atom>,
    // Every role with device, load, progress and state.
    caf::replies_to<get_status_atom>::with<cluster_status>,
    // Starts no replacement any more.
    caf::replies_to<drain_atom>::with<drained_atom>>;

/// The front door: admission and the journal of every request.
using router_actor = caf::typed_actor<
    // Admits or refuses at once; tokens go to the listener.
    caf::replies_to<submit_request>::with<admission>,
    // The client went away: frees the request everywhere; its listener hears nothing more.
    caf::reacts_to<cancel_request>,
    // Events from a kv_cache: each goes to its listener once, in order.
    caf::reacts_to<tokens_emitted>,
    // Who serves has changed: requests of a lost or leaving kv_cache go on elsewhere.
    caf::reacts_to<cluster_view>,
    // Sends its progress to the supervisor.
    caf::reacts_to<report_atom>,
    // The drain has taken router_options::drain_timeout: ends what is left with finish_reason::failed.
    caf::reacts_to<retry_atom>,
    // Admits nothing more; answers when the last request has ended.
    caf::replies_to<drain_atom>::with<drained_atom>>;

} // namespace troupe
