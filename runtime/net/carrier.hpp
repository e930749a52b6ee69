// The one seam over the transport between processes. Actors see handles only; who carries the bytes is decided here.
// Today CAF's own TCP (basp_carrier.cpp); nothing outside runtime/net may include caf/io.
#pragma once

#include "runtime/core/result.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace troupe::net {

/// Thread-safe. Lives no longer than its actor_system. A peer that goes away sends a `caf::down_msg` to its monitors.
class carrier {
 public:
  virtual ~carrier() = default;

  /// Makes `whom` reachable at `host`:`port` (0 lets the system choose) and returns its address, "basp://host:port".
  /// Errors: bad_input when the address cannot be bound.
  virtual result<std::string> publish(const caf::actor& whom, const std::string& host, std::uint16_t port) = 0;

  /// The actor published at `address`. Blocks as long as the system tries to connect: at once on one host. Types are
  /// not checked: peers of one cluster run one binary. Errors: bad_input for a malformed address, disconnected when
  /// nobody answers.
  virtual result<caf::actor> connect(const std::string& address) = 0;
};

/// Loads the transport into `config`; before the actor_system is made.
void configure_carrier(caf::actor_system_config& config);

std::unique_ptr<carrier> make_carrier(caf::actor_system& system);

} // namespace troupe::net
