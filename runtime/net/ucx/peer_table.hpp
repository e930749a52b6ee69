// Who is known: by id for whoever sends, by uri for whoever connects, by channel for what comes in.
// Invariant: at most one peer for a uri; an id is never used twice, a channel only with another tag.
#pragma once

#include "runtime/net/ucx/peer.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace troupe::net {

class peer_table {
 public:
  using peer_ptr = std::shared_ptr<peer>;

  /// Any thread; nothing if unknown.
  std::shared_ptr<outbound> outbound_of(peer_id id) const;
  /// The same for the progress thread, without a lock when it asks for the one it asked for last. Good until then.
  outbound* last_outbound_of(peer_id id) {
    if (!last_outbound_ || last_id_ != id) {
      last_outbound_ = outbound_of(id);
      last_id_ = id;
    }
    return last_outbound_.get();
  }
  peer_ptr find(const std::string& uri) const;
  peer_ptr find(peer_id id) const;
  /// The peer of `uri`, or a new one made by `make`; `is_new` tells. Errors: overloaded beyond limits::peers_max.
  struct found {
    peer_ptr who;
    bool is_new;
  };
  result<found> find_or_add(const std::string& uri, const std::function<peer_ptr(peer_id)>& make);
  /// `who` turned out to be `uri`. False if that is another peer already.
  bool rename(const peer_ptr& who, const std::string& uri);
  /// Progress thread.
  void remove(const peer_ptr& who);
  std::vector<peer_ptr> all() const;

  /// Progress thread: a number for a connection that may come up, its use, and its end.
  std::uint32_t reserve_channel();
  void open_channel(std::uint32_t channel, std::uint64_t tag, peer_ptr who);
  void close_channel(std::uint32_t channel);
  /// Nothing unless `tag` is right.
  peer* at_channel(std::uint32_t channel, std::uint64_t tag) const {
    if (channel >= channels_.size() || channels_[channel].tag != tag) return nullptr;
    return channels_[channel].who.get();
  }

 private:
  struct channel_slot {
    std::uint64_t tag = 0;
    peer_ptr who;
  };

  mutable std::mutex mutex_;
  std::uint32_t next_id_ = 1;
  std::unordered_map<peer_id, peer_ptr> by_id_;
  std::unordered_map<std::string, peer_ptr> by_uri_;
  // Of the progress thread:
  peer_id last_id_{};
  std::shared_ptr<outbound> last_outbound_;
  std::vector<channel_slot> channels_;
  std::vector<std::uint32_t> free_channels_;
};

} // namespace troupe::net
