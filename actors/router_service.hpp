// generation_service over the router actor: what gateways in the router's process hold.
#pragma once

#include "actors/generation_service.hpp"
#include "actors/interfaces.hpp"

#include <caf/actor_system.hpp>

#include <atomic>
#include <memory>

namespace troupe {

class sink_table;

/// Thread-safe. Destroy it before the actor_system. A sink may be called before its submit() has returned.
class router_service final : public generation_service {
 public:
  router_service(caf::actor_system& system, router_actor router, supervisor_actor supervisor);
  ~router_service() override;

  result<void> submit(generation_request request, token_sink sink) override;
  void cancel(request_id id) override;
  request_id next_id() override;
  cluster_status status() override;

 private:
  caf::actor_system& system_;
  router_actor router_;
  supervisor_actor supervisor_;
  std::shared_ptr<sink_table> sinks_;
  token_listener_actor listener_; // hands tokens to sinks_
  std::atomic<std::uint64_t> next_id_;
};

} // namespace troupe
