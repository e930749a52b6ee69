// Who gets the events of which request. Used by the kv_cache (owners: routers) and the router (owners: gateways).
#pragma once

#include "actors/interfaces.hpp"

#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe {

class listener_table {
 public:
  void add(request_id id, token_listener_actor listener) { listeners_.insert_or_assign(id, std::move(listener)); }
  void erase(request_id id) { listeners_.erase(id); }
  std::size_t size() const { return listeners_.size(); }

  /// Cuts `events` into one message per listener, order kept; forgets requests whose last event is among them.
  std::vector<std::pair<token_listener_actor, tokens_emitted>> split(process_id from, std::vector<token_event> events);

 private:
  std::unordered_map<request_id, token_listener_actor> listeners_;
};

} // namespace troupe
