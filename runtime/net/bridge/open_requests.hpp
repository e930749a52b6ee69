// Requests that peers have not answered: when a peer is lost, whoever waits for it is told at once, however long he
// was ready to wait. (CAF keeps no such table: an infinite request to a killed process waits for ever.)
#pragma once

#include "runtime/net/transport.hpp"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/message_id.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace troupe::net {

/// Thread-safe. Requesters that end take their entries along at the next purge, those that stop waiting leave theirs
/// until the answer comes or the peer goes: limits::open_requests_max bounds them all.
class open_requests {
 public:
  struct request {
    caf::actor_addr sender; ///< weak: nobody is kept alive for an answer
    caf::message_id id;
    peer_id peer;
  };

  /// False when there are too many.
  bool add(const caf::strong_actor_ptr& sender, caf::message_id id, peer_id peer);
  /// It has been answered, or never left.
  void remove(caf::actor_id sender, caf::message_id id);
  /// All that wait for `peer`; they are forgotten here.
  std::vector<request> take(peer_id peer);
  std::size_t size() const;

 private:
  struct key {
    caf::actor_id sender;
    std::uint64_t number; ///< the same in a request and its answer
    friend bool operator==(const key&, const key&) = default;
  };
  struct hash {
    std::size_t operator()(const key& k) const { return k.sender * 0x9e3779b97f4a7c15u ^ k.number; }
  };

  mutable std::mutex mutex_;
  std::unordered_map<key, request, hash> entries_;
};

} // namespace troupe::net
