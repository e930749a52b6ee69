#include "runtime/net/bridge/open_requests.hpp"

#include "runtime/core/limits.hpp"

#include <caf/actor_cast.hpp>

namespace troupe::net {

bool open_requests::add(const caf::strong_actor_ptr& sender, caf::message_id id, peer_id peer) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() == limits::open_requests_max)
    std::erase_if(entries_, [](const auto& e) { return !caf::actor_cast<caf::strong_actor_ptr>(e.second.sender); });
  if (entries_.size() == limits::open_requests_max) return false;
  const key k{sender->id(), id.request_id().integer_value()};
  entries_.insert_or_assign(k, request{caf::actor_cast<caf::actor_addr>(sender), id, peer});
  return true;
}

void open_requests::remove(caf::actor_id sender, caf::message_id id) {
  const std::lock_guard lock(mutex_);
  entries_.erase({sender, id.request_id().integer_value()});
}

std::vector<open_requests::request> open_requests::take(peer_id peer) {
  std::vector<request> out;
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](auto& e) {
    if (e.second.peer != peer) return false;
    out.push_back(std::move(e.second));
    return true;
  });
  return out;
}

std::size_t open_requests::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

} // namespace troupe::net
