// The door of a process: how its actors are published, and how those of others are reached. A thin face of the bridge
// (bridge/bridge.hpp), for whoever has no need to know more.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/bridge/message_codec.hpp"
#include "runtime/net/transport.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace troupe::net {

/// Where a process listens and whom it lets in.
struct carrier_options {
  std::string host = "127.0.0.1";    ///< of the interface; others reach the process by this name
  std::uint16_t port = 0;            ///< 0: any
  std::filesystem::path secret_file; ///< empty: as net/secret.hpp says
  int spin_rounds = 200;             ///< looks at the wire without work before the progress thread sleeps; < 0: never
  int progress_cpu = -1;             ///< that the progress thread is pinned to; negative: any
};

/// Binds the address of this process and loads the bridge into `config`, over UCX; before the actor_system is made.
/// Errors: bad_input for the address or the cluster secret, unsupported when UCX finds nothing to work with.
result<void> configure_carrier(caf::actor_system_config& config, const carrier_options& options,
                               std::vector<message_codec> codecs = {});

/// Thread-safe. Lives no longer than its actor_system. A peer that goes away sends a `caf::down_msg` to its monitors.
class carrier {
 public:
  /// `system`: of a config that configure_carrier() has seen.
  explicit carrier(caf::actor_system& system) : system_(system) {}

  /// Makes `whom` reachable and returns its address, "ucx://host:port/uid/name". `name` has no '/'.
  std::string publish(const caf::actor& whom, const std::string& name);

  /// The actor published at `address`; the uid may be left out. Blocks for at most limits::connect_timeout. Types are
  /// not checked: peers of one cluster run one binary. Errors: bad_input for a malformed address, not_found for a
  /// name that nobody has, disconnected when nobody answers or the cluster secret is another one.
  result<caf::actor> connect(const std::string& address);

  /// `whom` runs in the progress thread when a peer's message wakes it: no thread is woken (30 us), but it must never
  /// block.
  void pin(const caf::actor& whom);

  /// Sends what has been accepted and parts from every peer; for a process that ends at once. Nothing comes or goes
  /// afterwards. Not from the progress thread.
  void leave();

 private:
  caf::actor_system& system_;
};

} // namespace troupe::net
