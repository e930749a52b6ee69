// All roles in one process over the sim engine, whose tokens change if anything is lost, doubled or altered. Roles can
// be killed; the supervisor's wish to start a process is granted in a thread.
#pragma once

#include "actors/actor_expert_client.hpp"
#include "actors/expert_shard.hpp"
#include "actors/kv_cache.hpp"
#include "actors/router.hpp"
#include "actors/router_service.hpp"
#include "actors/supervisor.hpp"
#include "actors/system_config.hpp"
#include "runtime/exec/sim_engine.hpp"

#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe::test {

/// Collects one request's events and waits for the last.
class collected {
 public:
  token_sink sink() {
    return [this](const token_event& event) {
      const std::scoped_lock lock(mutex_);
      if (event.index != static_cast<std::int32_t>(tokens_.size())) gap_ = true;
      if (event.token >= 0) tokens_.push_back(event.token);
      if (event.finish != finish_reason::none) finish_ = event.finish;
      changed_.notify_all();
    };
  }
  /// True when the request ended with stop or length, every index once, within a generous time.
  bool wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return finish_ != finish_reason::none; });
    return !gap_ && (finish_ == finish_reason::stop || finish_ == finish_reason::length);
  }
  bool wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return tokens_.size() >= count; });
  }
  finish_reason finish() {
    const std::scoped_lock lock(mutex_);
    return finish_;
  }
  std::vector<token_id> tokens() {
    const std::scoped_lock lock(mutex_);
    return tokens_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<token_id> tokens_;
  finish_reason finish_ = finish_reason::none;
  bool gap_ = false;
};

class local_company {
 public:
  explicit local_company(int shards = 2, int kv_caches = 1, serving_options options = {}) : options_(options) {
    const auto roles = company_roles({.kv_caches = kv_caches, .expert_shards = shards});
    supervisor_parts parts{roles,
                           model.expert_count,
                           model.vocab_size,
                           options_,
                           [this](const std::string& name) { start_later(name); },
                           [](std::int64_t) {},
                           [](const std::string&) {}};
    supervisor_ = system.spawn(supervisor, parts);
    for (const auto& role : roles) start(role.name);
    service = std::make_unique<router_service>(system, router_, supervisor_);
    wait_ready();
  }

  ~local_company() {
    stop_restarts();
    service.reset();
    for (const auto& [name, role] : roles_) caf::anon_send_exit(role.handle, caf::exit_reason::kill);
    caf::anon_send_exit(supervisor_, caf::exit_reason::kill);
  }

  /// The role's actor dies as with kill -9 of its process.
  void kill(const std::string& name) {
    const auto role = role_named(name);
    caf::anon_send_exit(role.handle, caf::exit_reason::kill);
    caf::anon_send(supervisor_, process_exited{name, role.pid, 137});
  }

  /// The role's actor drains as with SIGTERM to its process; true when it answers.
  bool drain(const std::string& name) {
    const auto role = role_named(name);
    bool drained = false;
    caf::scoped_actor self{system};
    self->request(role.handle, limits::rpc_timeout, drain_atom_v)
        .receive([&](drained_atom) { drained = true; }, [](const caf::error&) {});
    if (name != "router-0") caf::anon_send(supervisor_, process_exited{name, role.pid, 0});
    return drained;
  }

  void wait_ready() {
    while (!service->status().ready) std::this_thread::yield();
  }

  void stop_restarts() {
    caf::scoped_actor self{system};
    self->request(supervisor_, limits::rpc_timeout, drain_atom_v)
        .receive([](drained_atom) {}, [](const caf::error&) {});
    const std::scoped_lock lock(mutex_);
    for (auto& thread : starters_) thread.join();
    starters_.clear();
  }

  exec::sim_model model;
  system_config config{reach::this_process, 2};
  caf::actor_system system{config};
  std::unique_ptr<router_service> service;

 private:
  struct running_role {
    caf::actor handle;
    std::int64_t pid = 0;
  };

  running_role role_named(const std::string& name) {
    const std::scoped_lock lock(roles_mutex_);
    return roles_.at(name);
  }

  void start_later(const std::string& name) {
    const std::scoped_lock lock(mutex_);
    starters_.emplace_back([this, name] { start(name); });
  }

  void start(const std::string& name) {
    role_assignment a;
    const auto pid = ++next_pid_;
    caf::scoped_actor self{system};
    self->request(supervisor_, limits::rpc_timeout, join_cluster{name, pid})
        .receive([&](role_assignment& x) { a = std::move(x); }, [](const caf::error&) {});
    const std::scoped_lock lock(roles_mutex_);
    roles_[name] = {spawn(name, a), pid};
  }

  caf::actor spawn(const std::string& name, const role_assignment& a) {
    if (name.starts_with("router")) {
      router_ =
          system.spawn(router, router_parts{a.process,
                                            {.max_model_len = options_.max_model_len, .vocab_size = model.vocab_size},
                                            supervisor_});
      return caf::actor_cast<caf::actor>(router_);
    }
    if (name.starts_with("kv_cache")) {
      auto parts = std::make_shared<kv_cache_parts>();
      parts->process = a.process;
      parts->supervisor = supervisor_;
      parts->engine = std::make_unique<exec::sim_engine>(model, 256);
      parts->experts =
          std::make_unique<actor_expert_client>(system, supervisor_, moe::element::f32, actor_expert_client::device{});
      parts->options.sampling = {model.vocab_size, {}};
      return caf::actor_cast<caf::actor>(system.spawn<caf::detached>(kv_cache, parts));
    }
    auto parts = std::make_shared<expert_shard_parts>();
    parts->process = a.process;
    parts->supervisor = supervisor_;
    parts->engine = std::make_unique<exec::sim_expert_engine>(model, a.placement.experts_of(a.shard));
    const auto shard = system.spawn(expert_shard, parts);
    caf::anon_send(supervisor_, expert_shard_ready{a.process, a.shard, "sim", "", shard});
    return caf::actor_cast<caf::actor>(shard);
  }

  serving_options options_;
  supervisor_actor supervisor_;
  router_actor router_;
  std::mutex mutex_;
  std::vector<std::thread> starters_;
  std::mutex roles_mutex_;
  std::map<std::string, running_role> roles_;
  std::atomic<std::int64_t> next_pid_{0};
};

} // namespace troupe::test
