#include "launch/front.hpp"

#include "actors/gateways/job_gateway.hpp"
#include "actors/router.hpp"
#include "actors/supervisor.hpp"
#include "launch/cluster_calls.hpp"
#include "launch/role_parts.hpp"
#include "runtime/core/log.hpp"
#include "runtime/model/config.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <caf/actor_cast.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>

namespace troupe::launch {

namespace {

/// Ends an actor and waits for it: what it uses may go afterwards.
template <class Handle>
void end_actor(caf::actor_system& system, const Handle& actor) {
  if (!actor) return;
  caf::scoped_actor self{system};
  self->send_exit(actor, caf::exit_reason::user_shutdown);
  self->wait_for(actor);
}

/// What /server_info shows: the settings as they are, after recipe, files and flags.
std::string server_info(const serving_options& s, const company_size& size) {
  return boost::json::serialize(boost::json::object{{"version", TROUPE_VERSION},
                                                    {"model_path", s.model_dir},
                                                    {"load_format", s.load_format},
                                                    {"device", s.device},
                                                    {"dtype", s.dtype},
                                                    {"isa", s.isa},
                                                    {"max_num_seqs", s.max_num_seqs},
                                                    {"max_num_batched_tokens", s.max_num_batched_tokens},
                                                    {"max_model_len", s.max_model_len},
                                                    {"kv_cache_dtype", s.kv_cache_dtype},
                                                    {"kv_cache_ratio", s.kv_cache_ratio},
                                                    {"seed", s.seed},
                                                    {"speculative", s.speculative},
                                                    {"deterministic", s.deterministic},
                                                    {"kv_caches", size.kv_caches},
                                                    {"expert_shards", size.expert_shards}});
}

} // namespace

result<std::unique_ptr<front>> front::open(caf::actor_system& system, net::carrier& carrier, const recipe& plan,
                                           process_calls processes) {
  TROUPE_ASSIGN(const auto config, model::load_config(plan.serving.model_dir));
  auto serving = plan.serving;
  serving.max_model_len = std::min(serving.max_model_len, config.max_position_embeddings);
  TROUPE_ASSIGN(const auto cache, exec::parse_cache_dtype(serving.kv_cache_dtype));
  TROUPE_TRY(exec::choose_cache(cache, config));
  if (serving.device == "cpu") { // one set for all roles, on whatever hosts they run
    if (!serving.deterministic)
      return error{errc::bad_input, "--deterministic=off: the CPU engine has one way through its kernels; only "
                                    "--device cuda has a second, faster one for many tokens"};
    TROUPE_ASSIGN(const auto isa, choose_isa(serving.isa));
    serving.isa = kernels::name_of(isa);
  }
  if (serving.load_format == "dummy")
    log::warn("--load-format dummy: the weights are random numbers (seed {}), and so are the answers", serving.seed);
  const text_options text{plan.front.served_model_name, plan.front.chat_template, serving.max_model_len, serving.seed};
  TROUPE_ASSIGN(auto loaded, load_text_side(serving.model_dir, text));
  std::unique_ptr<front> out(new front(system, std::move(loaded), std::chrono::seconds(plan.front.drain_timeout_s)));
  const bool replaces_roles = processes.replaces_roles;
  TROUPE_TRY(out->start_router(config, serving, plan.size, std::move(processes)));
  TROUPE_TRY(out->open_gateways(carrier, plan.front, server_info(serving, plan.size), replaces_roles));
  return out;
}

result<void> front::start_router(const model::model_config& config, const serving_options& serving,
                                 const company_size& size, process_calls processes) {
  supervisor_parts parts;
  parts.roles = company_roles(size);
  parts.expert_count = config.expert_count;
  parts.vocab_size = std::min(text_.tokenizer.vocab_size(), config.vocab_size);
  parts.options = serving;
  parts.start_process = std::move(processes.start);
  parts.kill_process = std::move(processes.kill);
  parts.give_up = std::move(processes.give_up);
  supervisor_ = system_.spawn(troupe::supervisor, std::move(parts));
  TROUPE_ASSIGN(const auto assignment, join(system_, supervisor_, "router-0"));
  router_options options;
  options.max_model_len = serving.max_model_len;
  options.vocab_size = config.vocab_size;
  options.max_num_seqs = serving.max_num_seqs;
  options.drain_timeout = drain_timeout_;
  router_ = system_.spawn(router, router_parts{assignment.process, options, supervisor_});
  service_ = std::make_unique<router_service>(system_, router_, supervisor_);
  return {};
}

result<void> front::open_gateways(net::carrier& carrier, const front_options& options, std::string info,
                                  bool replaces_roles) {
  completions_ = std::make_unique<completion_service>(*service_, text_);
  jobs_ = spawn_job_gateway(system_, *completions_);
  const auto job_address = carrier.publish(caf::actor_cast<caf::actor>(jobs_), "jobs");
  http_gateway_options http;
  http.host = options.host;
  http.port = options.port;
  http.api_keys = options.api_keys;
  http.any_interface = options.any_interface;
  http.version = TROUPE_VERSION;
  http.server_info = std::move(info);
  http.replaces_roles = replaces_roles;
  http.job_address = job_address;
  TROUPE_ASSIGN(http_, http_gateway::open(http, *completions_));
  log::info("listening on http://{}:{}", options.host, http_->port());
  return {};
}

void front::drain() {
  log::info("draining: no new requests");
  http_->drain();
  launch::drain(system_, caf::actor_cast<caf::actor>(router_), drain_timeout_ + limits::rpc_timeout);
  launch::drain(system_, caf::actor_cast<caf::actor>(supervisor_), limits::rpc_timeout);
}

front::~front() {
  http_.reset();
  end_actor(system_, jobs_);
  completions_.reset();
  service_.reset();
  end_actor(system_, router_);
  end_actor(system_, supervisor_);
}

} // namespace troupe::launch
