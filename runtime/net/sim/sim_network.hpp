// A network in memory that loses, delays, reorders and doubles datagrams, parts and heals: the same things in the same
// order for the same seed. On it a small reliable layer (retransmission, numbers, order per stream), so that its
// transports keep what transport.hpp promises.
//
//   send ─▶ waits for room ─▶ datagram: lost? again later ─▶ delayed, perhaps twice ─▶ number seen? ─▶ order ─▶
//   on_frame
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/net/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace troupe::net {

/// What happens to each datagram. Delays differ, so datagrams overtake one another.
struct sim_rules {
  duration delay_min = std::chrono::microseconds(20);
  duration delay_max = std::chrono::microseconds(100);
  duration retransmit_after = std::chrono::milliseconds(2);
  double loss = 0;      ///< probability of each datagram to get lost
  double duplicate = 0; ///< and to arrive twice
  std::size_t credit_frames = limits::peer_credit_frames;
  std::size_t credit_bytes = limits::peer_credit_bytes;
  std::size_t waiting_bytes_max = limits::peer_waiting_bytes_max;
};

/// What has happened to datagrams: a test checks that there was something to survive.
struct sim_counts {
  std::size_t sent = 0, lost = 0, doubled = 0, reordered = 0;
};

class sim_network {
 public:
  explicit sim_network(std::uint64_t seed, sim_rules rules = {});
  ~sim_network();

  /// A transport "sim://host:<number>/<number>", numbered from 1. May outlive the network's handle, not its use.
  std::unique_ptr<transport> make_transport();

  /// Either these two, whose caller's thread is the progress thread of every transport; time is virtual ...
  void run_until_idle();
  void advance(duration by);
  /// ... or a thread that follows the real clock. Before any transport starts.
  void run_in_background();

  /// Nothing passes between the two until heal(); after limits::ping_timeout they lose each other.
  void part(const transport& a, const transport& b);
  void heal(const transport& a, const transport& b);
  /// The end of a process without a farewell: its listener is not called any more, its peers lose it.
  void kill(const transport& whom);

  time_point now() const;
  sim_counts counts() const;

 private:
  struct state;
  class node;
  std::shared_ptr<state> state_;
};

} // namespace troupe::net
