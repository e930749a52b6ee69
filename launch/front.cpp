#include "launch/front.hpp"

#include "actors/router.hpp"
#include "actors/router_service.hpp"
#include "launch/cluster_calls.hpp"
#include "runtime/core/log.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/tokenizer.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <algorithm>

namespace troupe::launch {

result<std::unique_ptr<front>> front::open(caf::actor_system& system, const recipe& plan, process_calls processes) {
  const auto& dir = plan.serving.model_dir;
  TROUPE_ASSIGN(const auto config, model::load_config(dir));
  TROUPE_ASSIGN(const auto tokenizer, model::tokenizer::load(dir));
  const auto vocab_size = std::min(tokenizer.vocab_size(), config.vocab_size);

  std::unique_ptr<front> out(new front(system));
  out->supervisor_ = system.spawn(
      troupe::supervisor, supervisor_parts{company_roles(plan.size), config.expert_count, vocab_size, plan.serving,
                                           std::move(processes.start), std::move(processes.kill)});
  TROUPE_ASSIGN(const auto assignment, join(system, out->supervisor_, "router-0"));
  router_options options{plan.serving.max_model_len, config.vocab_size};
  out->router_ = system.spawn(router, router_parts{assignment.process, options, out->supervisor_});
  out->service_ = std::make_unique<router_service>(system, out->router_, out->supervisor_);
  return out;
}

bool front::drain() {
  log::info("draining: no new requests");
  const bool finished =
      launch::drain(system_, caf::actor_cast<caf::actor>(router_), limits::drain_timeout + limits::rpc_timeout);
  launch::drain(system_, caf::actor_cast<caf::actor>(supervisor_), limits::rpc_timeout);
  return finished;
}

front::~front() {
  service_.reset();
  caf::anon_send_exit(router_, caf::exit_reason::user_shutdown);
  caf::anon_send_exit(supervisor_, caf::exit_reason::user_shutdown);
}

} // namespace troupe::launch
