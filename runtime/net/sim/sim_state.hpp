// Inside of sim_network: its members, their connections, and what becomes of frames between them.
// One mutex guards everything; listeners are called without it, by whoever runs the timeline.
#pragma once

#include "runtime/net/sim/sim_network.hpp"
#include "runtime/net/sim/timeline.hpp"

#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace troupe::net {

struct sim_frame {
  stream_id stream;
  std::uint64_t number = 0; ///< within its stream
  std::vector<std::byte> meta;
  std::vector<segment> segments;
  std::size_t bytes = 0;
};
using frame_ptr = std::shared_ptr<const sim_frame>;

/// What has arrived of one stream.
struct sim_inbox {
  std::uint64_t next = 0;
  std::map<std::uint64_t, frame_ptr> early;
};

enum class link_state { connecting, up, down };

/// One side of a connection.
struct sim_side {
  std::uint32_t node = 0; ///< whose side this is
  peer_id id;
  std::string uri; ///< of the other one
  link_state state = link_state::connecting;
  std::weak_ptr<sim_side> other;
  std::deque<frame_ptr> waiting;
  std::size_t waiting_bytes = 0;
  std::size_t out_frames = 0, out_bytes = 0; ///< room taken at the receiver
  std::size_t under_way = 0;                 ///< frames that have not arrived
  std::map<stream_id, std::uint64_t> numbers;
  std::map<stream_id, sim_inbox> inboxes;
};
using side_ptr = std::shared_ptr<sim_side>;

struct sim_network::state : std::enable_shared_from_this<state> {
  struct member {
    std::string uri;
    transport_listener* listener = nullptr; ///< while it runs
    std::vector<std::byte> hello;
    std::vector<side_ptr> sides; ///< [peer_id]
    std::map<std::uint8_t, hot_handler> hot;
  };

  /// The receipts of frames from one side; they may outlive the network.
  struct keeper final : room_keeper {
    keeper(std::weak_ptr<state> n, side_ptr s) : network(std::move(n)), from(std::move(s)) {}
    void give_back(std::uint64_t bytes) override {
      if (const auto alive = network.lock()) alive->give_back(from, bytes);
    }
    std::weak_ptr<state> network;
    side_ptr from;
  };

  state(std::uint64_t seed, sim_rules r) : rules(r), random(seed) {
    time.on_every_turn([this] { return run_some(); });
  }

  bool chance(double probability) { return std::generate_canonical<double, 53>(random) < probability; }
  time_point arrival() {
    const auto spread = static_cast<double>((rules.delay_max - rules.delay_min).count());
    const auto extra = static_cast<duration::rep>(spread * std::generate_canonical<double, 53>(random));
    return time.now() + rules.delay_min + duration(extra);
  }
  static std::pair<std::uint32_t, std::uint32_t> pair_of(std::uint32_t a, std::uint32_t b) { return std::minmax(a, b); }
  bool parted(const sim_side& s, const sim_side& other) const { return apart.contains(pair_of(s.node, other.node)); }

  side_ptr live_side(member& m, const std::string& uri) {
    for (const auto& s : m.sides)
      if (s->uri == uri && s->state != link_state::down) return s;
    return nullptr;
  }
  side_ptr add_side(std::uint32_t node, std::string uri) {
    auto s = std::make_shared<sim_side>();
    s->node = node;
    s->id = peer_id(static_cast<std::uint32_t>(members[node].sides.size()));
    s->uri = std::move(uri);
    members[node].sides.push_back(s);
    return s;
  }

  bool run_some();
  void dial(const side_ptr& from, time_point since);
  void join(const side_ptr& a, const side_ptr& b);
  void pump(const side_ptr& from);
  void transmit(const side_ptr& from, const frame_ptr& what);
  void arrive(const side_ptr& from, const frame_ptr& what);
  void hand_over(const side_ptr& to, const side_ptr& from, const frame_ptr& what);
  void give_back(const side_ptr& from, std::size_t bytes);
  void transmit_hot(const side_ptr& from, std::uint8_t lane, const std::vector<std::byte>& bytes);
  void lose(const side_ptr& whose, const std::string& why);
  void leave(std::uint32_t node, const std::string& why);
  bool drained(std::uint32_t node);

  const sim_rules rules;
  std::mutex mutex; ///< of everything below
  std::mt19937_64 random;
  std::deque<member> members;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> apart; ///< which parting it is
  std::uint64_t partings = 0;
  sim_counts counts;
  timeline time; ///< last: its thread ends first
};

} // namespace troupe::net
