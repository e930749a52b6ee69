#include "runtime/net/ucx/peer_table.hpp"

#include "runtime/core/limits.hpp"

namespace troupe::net {

namespace {

template <class Map, class Key>
peer_table::peer_ptr look_up(const Map& map, const Key& key) {
  const auto entry = map.find(key);
  return entry == map.end() ? nullptr : entry->second;
}

} // namespace

std::shared_ptr<outbound> peer_table::outbound_of(peer_id id) const {
  const std::lock_guard lock(mutex_);
  const auto entry = by_id_.find(id);
  return entry == by_id_.end() ? nullptr : entry->second->out;
}

peer_table::peer_ptr peer_table::find(const std::string& uri) const {
  const std::lock_guard lock(mutex_);
  return look_up(by_uri_, uri);
}

peer_table::peer_ptr peer_table::find(peer_id id) const {
  const std::lock_guard lock(mutex_);
  return look_up(by_id_, id);
}

result<peer_table::found> peer_table::find_or_add(const std::string& uri,
                                                  const std::function<peer_ptr(peer_id)>& make) {
  const std::lock_guard lock(mutex_);
  if (auto who = look_up(by_uri_, uri)) return found{std::move(who), false};
  if (by_id_.size() >= limits::peers_max)
    return error{errc::overloaded, "this process has " + std::to_string(limits::peers_max) + " connections already"};
  auto who = make(peer_id{next_id_++});
  by_id_.emplace(who->id, who);
  by_uri_.emplace(uri, who);
  return found{std::move(who), true};
}

bool peer_table::rename(const peer_ptr& who, const std::string& uri) {
  const std::lock_guard lock(mutex_);
  if (!by_uri_.emplace(uri, who).second) return false;
  by_uri_.erase(who->uri);
  who->uri = uri;
  return true;
}

void peer_table::remove(const peer_ptr& who) {
  if (last_id_ == who->id) last_outbound_.reset();
  const std::lock_guard lock(mutex_);
  by_id_.erase(who->id);
  if (const auto entry = by_uri_.find(who->uri); entry != by_uri_.end() && entry->second == who) by_uri_.erase(entry);
}

std::vector<peer_table::peer_ptr> peer_table::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<peer_ptr> out;
  for (const auto& [id, who] : by_id_) out.push_back(who);
  return out;
}

std::uint32_t peer_table::reserve_channel() {
  if (free_channels_.empty()) {
    channels_.emplace_back();
    return static_cast<std::uint32_t>(channels_.size() - 1);
  }
  const auto channel = free_channels_.back();
  free_channels_.pop_back();
  return channel;
}

void peer_table::open_channel(std::uint32_t channel, std::uint64_t tag, peer_ptr who) {
  channels_[channel] = {tag, std::move(who)};
}

void peer_table::close_channel(std::uint32_t channel) {
  channels_[channel] = {};
  free_channels_.push_back(channel);
}

} // namespace troupe::net
