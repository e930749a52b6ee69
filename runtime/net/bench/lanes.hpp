// One end of the process pair that `troupe bench transport` measures: everything that can carry a message, side by
// side. Only one lane works at a time; the others sleep.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/result.hpp"
#include "runtime/net/bench/raw_ucx.hpp"
#include "runtime/net/transport.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <future>
#include <memory>
#include <string>
#include <vector>

namespace troupe::net::bench {

/// Of one transport in one round. One way is half a round trip, the median of all. MB are 10^6 bytes.
struct lane_figures {
  double raw_us = 0;
  double hot_us = 0;
  double actor_us = 0;
  double raw_mbs = 0;
  double actor_mbs = 0;
  double raw_rate = 0;
  double actor_rate = 0;
  double request_p50_us = 0; ///< from the request to its answer
  double request_p99_us = 0;
};

/// Ping and pong in the receive callbacks of a transport.
class hot_lane {
 public:
  /// Before `wire` starts.
  explicit hot_lane(transport& wire);
  /// Round trips in microseconds.
  std::vector<double> ping_pong(peer_id peer, duration how_long);

 private:
  enum lane : std::uint8_t { ping, pong };

  void fire(peer_id peer, time_point now);
  void on_pong(peer_id from);

  transport& wire_;
  // Of the progress thread while ping_pong() waits:
  time_point end_;
  time_point begin_;
  std::vector<double> round_trips_;
  std::promise<void> done_;
};

class lanes {
 public:
  struct options {
    std::string transport;  ///< "shm" or "tcp"
    std::string secret;     ///< the same at both ends
    int spin_rounds = 0;    ///< as in ucx_options
    bool raw_blind = false; ///< raw UCX does not look after its peer over tcp, although our transport has to
  };

  /// Errors: unsupported when UCX cannot have it here.
  static result<std::unique_ptr<lanes>> open(const options& how);
  ~lanes();

  /// One line for the other end's connect().
  std::string contact() const;
  result<void> connect(const std::string& contact);

  /// The answering end: of raw UCX until the measuring end says stop; the other lanes are answered always.
  result<void> serve_raw();

  /// The measuring end: raw UCX, while the other end is in serve_raw().
  void measure_raw(duration how_long, lane_figures& out);
  /// The measuring end: all the others.
  void measure_ours(duration how_long, lane_figures& out);

 private:
  struct config : caf::actor_system_config {
    explicit config(std::unique_ptr<transport> wire);
  };

  lanes(std::unique_ptr<raw_ucx> raw, std::unique_ptr<transport> wire);
  std::vector<double> ping_pong(duration how_long, duration patience);
  template <class Message>
  double rate_of(const Message& message, std::uint32_t window, duration how_long);

  std::unique_ptr<raw_ucx> raw_;
  hot_lane hot_;
  config config_;
  caf::actor_system system_;
  caf::actor answers_;
  caf::actor peer_; ///< the other end's answerer
  peer_id peer_id_;
};

} // namespace troupe::net::bench
