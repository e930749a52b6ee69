// troupe serve MODEL: all roles in one process; the kv_cache calls its experts without a hop.
#include "actors/kv_cache.hpp"
#include "actors/system_config.hpp"
#include "launch/cluster_calls.hpp"
#include "launch/front.hpp"
#include "launch/role_parts.hpp"
#include "launch/serving_flags.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/log.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <csignal>
#include <memory>

namespace troupe::launch {

namespace {

result<kv_cache_actor> start_kv_cache(caf::actor_system& system, const recipe& plan, const front& house) {
  TROUPE_ASSIGN(const auto assignment, join(system, house.supervisor(), "kv_cache-0"));
  TROUPE_ASSIGN(const auto model, open_model(plan.serving.model_dir));
  TROUPE_ASSIGN(const auto cpu, cpu_options_of(plan.serving, 1));
  TROUPE_ASSIGN(auto experts, make_local_experts(model, cpu));
  TROUPE_ASSIGN(auto parts, make_kv_cache(model, assignment, cpu, house.supervisor(), std::move(experts)));
  return system.spawn<caf::detached>(kv_cache, std::move(parts));
}

result<void> serve(const recipe& plan) {
  boost::asio::io_context loop;
  boost::asio::signal_set stop(loop, SIGTERM, SIGINT);
  system_config config(reach::network, 2); // other processes reach the job gateway
  caf::actor_system system(config);
  const auto carrier = net::make_carrier(system);
  TROUPE_ASSIGN(const auto house, front::open(system, *carrier, plan, {}));
  TROUPE_ASSIGN(const auto kv_cache, start_kv_cache(system, plan, *house));

  stop.async_wait([](auto, int) {});
  loop.run();
  house->drain();
  caf::anon_send_exit(kv_cache, caf::exit_reason::user_shutdown);
  return {};
}

} // namespace

void add_serve(CLI::App& app) {
  auto plan = std::make_shared<recipe>();
  plan->size = {.kv_caches = 1, .expert_shards = 0};
  auto* verb = app.add_subcommand("serve", "serve a model, all roles in this process");
  verb->add_option("model", plan->serving.model_dir, "a folder as Hugging Face publishes it")->required();
  add_front_flags(*verb, plan->front);
  add_serving_flags(*verb, plan->serving);
  verb->callback([plan] { finish(serve(*plan)); });
}

} // namespace troupe::launch
