// Process 0: supervisor, router and the HTTP gateway. `serve` puts a kv_cache beside it, `launch` in processes of its
// own.
#pragma once

#include "actors/generation_service.hpp"
#include "actors/interfaces.hpp"
#include "actors/supervisor.hpp"
#include "launch/recipe.hpp"
#include "runtime/core/result.hpp"

#include <caf/actor_system.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe::launch {

/// Who starts and kills role processes; empty functions where all roles live in this one.
struct process_calls {
  std::function<void(const std::string& name)> start;
  std::function<void(std::int64_t pid)> kill;
};

class front {
 public:
  /// Reads config, tokenizer and template of the model, and listens. It is ready when all roles of the recipe are.
  /// Errors: bad_input naming file and reason, or the address that cannot be bound.
  static result<std::unique_ptr<front>> open(caf::actor_system& system, const recipe& plan, process_calls processes);
  ~front();

  const supervisor_actor& supervisor() const { return supervisor_; }
  generation_service& service() { return *service_; }

  /// Refuses new requests and waits until the last one has ended; then lets roles go without replacing them. Blocks for
  /// limits::drain_timeout at most. False if requests had to be failed.
  bool drain();

 private:
  front(caf::actor_system& system) : system_(system) {}

  caf::actor_system& system_;
  supervisor_actor supervisor_;
  router_actor router_;
  std::unique_ptr<generation_service> service_;
};

} // namespace troupe::launch
