// CAF's actors over a net::transport: handles of actors in other processes that behave like local ones. A module of the
// actor_system; its name there is the transport's uri, so that a handle says where its actor lives and may be dialled
// by whoever gets it.
//
//   send ─▶ remote_actor_proxy ─▶ frame (head, types as numbers; segments beside) ─▶ transport
//   transport ─▶ on_frame ─▶ mailbox (holding its receipt) ─▶ pinned: run in the progress thread │ else: scheduler
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/bridge/caf_node.hpp"
#include "runtime/net/bridge/message_codec.hpp"
#include "runtime/net/bridge/message_head.hpp"
#include "runtime/net/bridge/neighbour.hpp"
#include "runtime/net/bridge/open_requests.hpp"
#include "runtime/net/bridge/type_table.hpp"
#include "runtime/net/transport.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/execution_unit.hpp>
#include <caf/proxy_registry.hpp>
#include <caf/resumable.hpp>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace troupe::net {

/// What has been lost on the way, for /metrics; every one of them was logged.
struct bridge_counters {
  std::atomic<std::uint64_t> overloaded{0}; ///< messages and requests that found their peer too far behind
  std::atomic<std::uint64_t> refused{0};    ///< frames of peers that could not be read
};

class bridge final : public caf::net::middleman, caf::proxy_registry::backend, transport_listener {
 public:
  /// Into `config`, before the actor_system is made, with a scheduler of policy `sharing` whose clock is the
  /// transport's (progress_clock.hpp). `codecs` are tried in their order.
  static void load(caf::actor_system_config& config, std::unique_ptr<transport> wire,
                   std::vector<message_codec> codecs = {});
  /// The bridge of a system whose config it was loaded into.
  static bridge& of(caf::actor_system& system) { return static_cast<bridge&>(system.network_manager()); }

  /// Makes `whom` known by `name` (without '/') to peers; returns "<uri>/<name>".
  template <class Handle>
  std::string publish(const Handle& whom, const std::string& name) {
    return publish_as(caf::actor_cast<caf::strong_actor_ptr>(whom), system_.message_types(whom), name);
  }
  /// Blocks for at most limits::connect_timeout; not from the progress thread. Errors: bad_input for a malformed
  /// address or another interface than `Handle`'s, not_found for an unknown name, disconnected.
  template <class Handle = caf::actor>
  result<Handle> remote_actor(const std::string& uri, const std::string& name) {
    TROUPE_ASSIGN(const auto found, look_up(uri, name));
    if (!system_.assignable<Handle>(found.types))
      return error{errc::bad_input, uri + "/" + name + ": answers to other messages than expected"};
    return caf::actor_cast<Handle>(found.actor);
  }

  struct found_actor {
    caf::strong_actor_ptr actor;
    std::set<std::string> types; ///< of its messages; empty if it is untyped
  };
  /// As remote_actor(), without a look at the types.
  result<found_actor> look_up(const std::string& uri, const std::string& name);

  /// From now on `whom` runs in the progress thread when a peer's message wakes it. It must never block, and stays
  /// below limits::pinned_run_messages messages a turn. Any thread.
  template <class Handle>
  void pin(const Handle& whom) {
    pin_actor(caf::actor_cast<caf::strong_actor_ptr>(whom));
  }

  transport& wire() { return *wire_; }
  const bridge_counters& counters() const { return counters_; }
  std::size_t open_request_count() const { return open_.size(); }
  /// Why the transport could not start.
  const result<void>& started() const { return started_; }

  // For remote_actor_proxy; any thread.
  void send_message(const neighbour_ptr& to, caf::actor_id receiver, caf::mailbox_element_ptr what);
  void send_link(message_kind kind, const neighbour_ptr& to, caf::strong_actor_ptr from, caf::actor_id receiver);

 private:
  /// The context of everything that runs in the progress thread, and of (de)serializing handles.
  class unit final : public caf::execution_unit {
   public:
    explicit unit(bridge& owner) : execution_unit(&owner.system_), owner_(owner) {}
    void exec_later(caf::resumable* job) override;

   private:
    bridge& owner_;
  };
  struct open_lookup;

  bridge(caf::actor_system& system, std::shared_ptr<transport> wire, std::vector<message_codec> codecs);

  // actor_system::module
  void init(caf::actor_system_config& config) override;
  void start() override;
  void stop() override;
  void* subtype_ptr() override { return this; }
  // proxy_registry::backend; the first under the registry's mutex
  caf::strong_actor_ptr make_proxy(caf::node_id node, caf::actor_id actor) override;
  void set_last_hop(caf::node_id*) override {}
  // transport_listener
  void on_peer_up(peer_id peer, const std::string& uri, std::span<const std::byte> hello) override;
  void on_frame(peer_id peer, std::span<const std::byte> meta, std::span<segment> segments, receipt room) override;
  void on_peer_down(peer_id peer, const error& why) override;
  bool run_some() override;

  std::string publish_as(caf::strong_actor_ptr whom, std::set<std::string> types, const std::string& name);
  void forget(const std::string& name, caf::actor_id actor);
  void pin_actor(const caf::strong_actor_ptr& whom);
  void unpin(caf::resumable* job);
  bool is_pinned(caf::resumable* job);

  // Neighbours
  result<neighbour_ptr> dial(const std::string& uri);
  neighbour_ptr neighbour_of(peer_id peer, const std::string& uri);
  void lose(const neighbour_ptr& whom, const std::string& why);

  // Sending (bridge_send.cpp)
  result<void> write_message(message_head head, caf::mailbox_element& what, frame_parts to);
  result<void> write_values(const caf::type_erased_tuple& content, std::vector<char>& meta);
  const message_codec* codec_for(const caf::type_erased_tuple& content, std::uint16_t& number) const;
  result<void> send_patiently(const neighbour& to, stream_id stream, frame_parts parts, bool wait);
  void not_sent(const neighbour_ptr& to, const message_head& head, const caf::strong_actor_ptr& sender,
                const error& why);
  void send_owed(const neighbour_ptr& to, std::vector<char> meta);
  void pay_owed(const neighbour_ptr& to);
  void send_control(const neighbour_ptr& to, const message_head& head);
  void send_ended(const neighbour_ptr& to, caf::actor_id actor, caf::error reason);
  void register_sender(const caf::strong_actor_ptr& sender);
  void refuse(const caf::strong_actor_ptr& requester, caf::message_id id, const error& why);

  // Receiving, progress thread (bridge_receive.cpp)
  const neighbour_ptr& connected(peer_id peer);
  const caf::strong_actor_ptr& local_actor(caf::actor_id actor);
  void receive(const neighbour_ptr& from, std::span<const std::byte> meta, std::span<segment> segments, receipt room);
  void receive_message(const neighbour_ptr& from, const message_head& head, std::span<const std::byte> rest,
                       std::span<segment> segments, receipt room);
  result<caf::message> read_values(const neighbour& from, caf::binary_deserializer& source);
  void take_unreadable(const neighbour& from, const message_head& head, const caf::strong_actor_ptr& sender,
                       const error& why);
  caf::strong_actor_ptr actor_of(const neighbour_ptr& at, caf::actor_id actor);
  void watch(const neighbour_ptr& for_whom, caf::actor_id actor);
  void answer_look_up(const neighbour_ptr& to, const message_head& head, const std::string& name);
  void take_found(const neighbour_ptr& from, const message_head& head, std::span<const std::byte> rest);

  caf::actor_system& system_;
  std::shared_ptr<transport> wire_;
  std::vector<message_codec> codecs_;
  mutable std::atomic<std::size_t> last_codec_{0};
  std::unique_ptr<type_table> types_;
  unit unit_;
  caf::proxy_registry proxies_;
  open_requests open_;
  bridge_counters counters_;
  result<void> started_;
  const std::uint64_t serial_; ///< tells this bridge from one that had its address before
  std::atomic<bool> stopped_{false};
  std::shared_ptr<bridge*> alive_ = std::make_shared<bridge*>(this); ///< functors on actors may outlive us

  std::mutex mutex_; ///< of the next ones
  std::unordered_map<peer_id, neighbour_ptr> neighbours_;
  std::map<std::string, found_actor> published_;
  std::map<std::uint64_t, std::shared_ptr<open_lookup>> lookups_;
  std::uint64_t last_lookup_ = 0;

  // Of the progress thread.
  std::unordered_map<peer_id, neighbour_ptr> up_;
  neighbour_ptr last_from_;       ///< of the last frame; nothing reads it but connected()
  caf::strong_actor_ptr last_to_; ///< the receiver of the last message
  std::unordered_set<caf::resumable*> pinned_;
  caf::resumable* last_pinned_ = nullptr; ///< one of `pinned_`, looked at first
  std::deque<caf::resumable*> run_queue_; ///< each with a reference
  bool ran_caf_ = false;                  ///< since run_some()
};

} // namespace troupe::net
