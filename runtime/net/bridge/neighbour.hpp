// One connected process, as the bridge sees it.
#pragma once

#include "runtime/net/bridge/type_table.hpp"
#include "runtime/net/transport.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/node_id.hpp>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace troupe::net {

struct neighbour {
  explicit neighbour(peer_id p) : peer(p) {}

  const peer_id peer;
  std::string uri;   ///< empty while unknown
  caf::node_id node; ///< made of it
  std::atomic<bool> lost{false};

  /// Of the progress thread: what its numbers mean, and its actors.
  peer_numbers numbers;
  std::unordered_map<caf::actor_id, caf::strong_actor_ptr> actors;
  caf::strong_actor_ptr last_actor; ///< one of them, looked at first
  void forget(caf::actor_id actor) {
    if (last_actor && last_actor->id() == actor) last_actor = nullptr;
    actors.erase(actor);
  }

  /// Frames that must not be lost and found no room.
  std::mutex owed_mutex;
  std::deque<std::vector<char>> owed;
};
using neighbour_ptr = std::shared_ptr<neighbour>;

} // namespace troupe::net
