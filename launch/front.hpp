// Process 0: supervisor, router and the gateways. `serve` puts a kv_cache beside it, `launch` in processes of its own.
#pragma once

#include "actors/gateways/completion_service.hpp"
#include "actors/gateways/http_gateway.hpp"
#include "actors/gateways/job_messages.hpp"
#include "actors/gateways/text_side.hpp"
#include "actors/interfaces.hpp"
#include "actors/router_service.hpp"
#include "launch/recipe.hpp"
#include "runtime/core/result.hpp"
#include "runtime/net/carrier.hpp"

#include <caf/actor_system.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe::launch {

/// Who starts and kills role processes, and ends the cluster when one dies too often. As they stand here: nobody, where
/// all roles live in this process.
struct process_calls {
  std::function<void(const std::string& name)> start = [](const std::string&) {};
  std::function<void(std::int64_t pid)> kill = [](std::int64_t) {};
  std::function<void(const std::string& name)> give_up = [](const std::string&) {};
  bool replaces_roles = false; ///< start() does
};

class front {
 public:
  /// Reads config, tokenizer and template of the model, and listens. It is ready when all roles of the recipe are.
  /// Errors: bad_input naming file and reason, or the address that cannot be bound.
  static result<std::unique_ptr<front>> open(caf::actor_system& system, net::carrier& carrier, const recipe& plan,
                                             process_calls processes);
  /// Closes the gateways once their last answers have reached their clients.
  ~front();

  const supervisor_actor& supervisor() const { return supervisor_; }
  generation_service& service() { return *service_; }

  /// Refuses new requests and waits until the last one has ended; then lets roles go without replacing them. Blocks for
  /// front_options::drain_timeout_s at most.
  void drain();

 private:
  front(caf::actor_system& system, text_side text, std::chrono::seconds drain_timeout)
      : system_(system), text_(std::move(text)), drain_timeout_(drain_timeout) {}

  result<void> start_router(const model::model_config& config, const serving_options& serving, const company_size& size,
                            process_calls processes);
  result<void> open_gateways(net::carrier& carrier, const front_options& options, std::string info,
                             bool replaces_roles);

  caf::actor_system& system_;
  text_side text_;
  std::chrono::seconds drain_timeout_;
  supervisor_actor supervisor_;
  router_actor router_;
  std::unique_ptr<router_service> service_;
  std::unique_ptr<completion_service> completions_;
  job_gateway_actor jobs_;
  std::unique_ptr<http_gateway> http_;
};

} // namespace troupe::launch
