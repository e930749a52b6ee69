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
#include <map>
#include <optional>
#include <vector>

namespace troupe {

/// Used by one thread, that of its kv_cache. Blocks in finish() and never longer than limits::dispatch_patience.
class actor_expert_client final : public exec::expert_client {
 public:
  /// Rows go straight to the shards' processes: a handle in a view is dialled where it lives.
  actor_expert_client(caf::actor_system& system, const supervisor_actor& supervisor, moe::element type);

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override;
  result<void> finish(std::span<float> out) override;

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

  bool receive_until(time_point deadline);
  void apply(const cluster_view& view);
  void lose(const caf::actor_addr& address);
  void take(rows_done& answer);
  void send_pending();
  bool complete() const;

  caf::scoped_actor self_;
  moe::element type_;
  std::uint64_t view_epoch_ = 0;
  moe::placement placement_;
  std::map<shard_id, connected_shard> shards_;

  const moe::routing* choice_ = nullptr;
  moe::dispatch_plan plan_;
  std::uint64_t first_ticket_ = 1; ///< of the present plan; part i has ticket first_ticket_ + i
  std::vector<part> parts_;
  std::vector<moe::shard_output> answers_; ///< [parts]
  std::string failure_;                    ///< a shard refused its batch
};

} // namespace troupe
