// The actor system of every Troupe process.
#pragma once

#include <caf/actor_system_config.hpp>

namespace troupe {

enum class reach { this_process, network };

/// Knows all messages. Policy `sharing` with few threads: CAF's stealing scheduler sleeps in naps of up to 10 ms and
/// starts four threads at least (caf-ucx.md section 4), which two cores pay for dearly.
class system_config : public caf::actor_system_config {
 public:
  explicit system_config(reach peers, std::size_t threads = 1);
};

} // namespace troupe
