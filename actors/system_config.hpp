// The actor system of every Troupe process.
#pragma once

#include "runtime/net/carrier.hpp"

#include <caf/actor_system_config.hpp>

namespace troupe {

enum class reach { this_process, network };

/// Knows all messages. Policy `sharing` with few threads: CAF's stealing scheduler sleeps in naps of up to 10 ms and
/// starts four threads at least (caf-ucx.md section 4), which two cores pay for dearly.
class system_config : public caf::actor_system_config {
 public:
  /// With reach::network the process listens as `listen` says. Throws std::runtime_error where that fails: a process
  /// that others cannot reach does not start.
  explicit system_config(reach peers, std::size_t threads = 1, const net::carrier_options& listen = {});
};

} // namespace troupe
