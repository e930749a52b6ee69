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

/// While every shard is a GPU of this host, rows and outputs may stay in device memory (can_map()): then only their
/// description travels. A shard that turns out not to map gets no such batch again.
///
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
  /// limits::overlap_rows_min, or mapped_overlap_rows_min, when shards compute with something of their own: another
  /// host, another GPU, or cores of their own. What is shared works on either the attention or the experts anyway, and
  /// two halves cost more than one whole.
  std::optional<std::int32_t> overlap_rows_min() const override;

  bool can_map() const override { return can_map_; }
  result<void> start_mapped(const exec::mapped_batch& rows) override;
  result<exec::mapped_outputs> finish_mapped() override;
  void stop_mapping(std::size_t segment, const std::string& why) override;

 private:
  struct connected_shard {
    process_id process;
    expert_shard_actor handle;
    bool maps; ///< as far as is known
  };
  struct part {
    shard_id shard;
    caf::message message;            ///< dispatch_rows or dispatch_mapped, ready to be sent again
    std::optional<process_id> asked; ///< who is working on it
    bool done = false;
  };

  /// What start() or start_mapped() sent and its finish waits for.
  struct dispatch {
    std::uint64_t epoch;        ///< of the placement it was planned by
    std::uint64_t first_ticket; ///< part i has ticket first_ticket + i
    std::vector<part> parts = {};
    std::string failure = {}; ///< a shard refused its batch
    bool unmapped = false;    ///< a shard does not map

    const moe::routing* choice = nullptr; // of start():
    moe::dispatch_plan plan = {};
    std::vector<moe::shard_output> answers = {}; ///< [parts]
    exec::mapped_outputs mapped = {};            ///< segments [parts], of start_mapped()

    bool complete() const;
    /// The part that `ticket` asks for, if nobody has answered it.
    part* find(std::uint64_t ticket);
  };

  /// Opens a dispatch once there is a placement.
  result<dispatch*> open();
  void add_part(dispatch& to, shard_id shard, caf::message message);
  result<void> wait_for(const dispatch& wanted);
  bool receive_until(time_point deadline);
  void apply(const cluster_view& view);
  void lose(const caf::actor_addr& address);
  void take(rows_done& answer);
  void take(const mapped_done& answer);
  void look_who_maps();
  /// The shard that worked on `p`, unless another has taken its place, is sent rows from now on.
  void stop_mapping(const part& p, const std::string& why);
  void send_pending();

  caf::scoped_actor self_;
  moe::element type_;
  std::uint64_t view_epoch_ = 0;
  moe::placement placement_;
  std::vector<shard_id> owners_;           ///< shards of the placement, ascending
  std::vector<std::uint32_t> owner_index_; ///< [expert_count] which of them
  std::map<shard_id, connected_shard> shards_;
  bool can_map_ = false;      ///< all shards of the placement are there and map
  bool shards_apart_ = false; ///< some compute with something of their own
  device mine_;
  std::uint64_t next_ticket_ = 1;
  std::deque<dispatch> open_;     ///< oldest first
  std::vector<part> last_mapped_; ///< whose outputs finish_mapped() returned
};

} // namespace troupe
