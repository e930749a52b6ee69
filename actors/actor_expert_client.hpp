// exec::expert_client over expert_shard actors. A shard that dies or leaves in the middle is waited for: its rows go to
// its replacement, since expert work is stateless and gives the same bits wherever it is done.
//
//   start: rows ──▶ every shard with work          finish: answers ──▶ combine in expert order
//                        shard gone ──▶ new view ──▶ rows again
#pragma once

#include "actors/interfaces.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/exec/expert_client.hpp"

#include <caf/actor_system.hpp>
#include <caf/message.hpp>
#include <caf/scoped_actor.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// Used by one thread, that of its kv_cache. Blocks in finish() and never longer than limits::dispatch_patience. Up to
/// two batches are under way at a time.
class actor_expert_client final : public exec::expert_client {
 public:
  /// Rows go straight to the shards' processes: a handle in a view is dialled where it lives.
  /// `mine` is the device beside it.
  struct device {
    std::string name;       ///< as in role_ready
    bool own_cores = false; ///< it and the shards of its host have cores enough for all of them at once
  };
  actor_expert_client(caf::actor_system& system, const supervisor_actor& supervisor, moe::element type, device mine);

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override;
  result<void> finish(std::span<float> out) override;
  /// limits::overlap_rows_min when shards compute with something of their own: another host, another GPU, or cores of
  /// their own. What is shared works on either the attention or the experts anyway, and two halves cost more than one
  /// whole.
  std::optional<std::int32_t> overlap_rows_min() const override;

 private:
  struct connected_shard {
    process_id process;
    expert_shard_actor handle;
  };
  struct part {
    caf::message message;            ///< dispatch_rows, ready to be sent again
    std::optional<process_id> asked; ///< who is working on it
    bool done = false;
  };

  /// What start() sent and finish() waits for.
  struct dispatch {
    const moe::routing* choice;
    moe::dispatch_plan plan;
    std::uint64_t epoch;        ///< of the placement it was planned by
    std::uint64_t first_ticket; ///< part i has ticket first_ticket + i
    std::vector<part> parts = {};
    std::vector<moe::shard_output> answers = {}; ///< [parts]
    std::string failure = {};                    ///< a shard refused its batch

    bool complete() const;
  };

  result<void> wait_for(const dispatch& wanted);
  bool receive_until(time_point deadline);
  void apply(const cluster_view& view);
  void lose(const caf::actor_addr& address);
  void take(rows_done& answer);
  void send_pending();

  caf::scoped_actor self_;
  moe::element type_;
  std::uint64_t view_epoch_ = 0;
  moe::placement placement_;
  std::map<shard_id, connected_shard> shards_;
  bool shards_apart_ = false; ///< some compute with something of their own
  device mine_;
  std::uint64_t next_ticket_ = 1;
  std::deque<dispatch> open_; ///< oldest first
};

} // namespace troupe
