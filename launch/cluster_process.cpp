#include "launch/cluster_process.hpp"

#include "actors/kv_cache.hpp"
#include "actors/system_config.hpp"
#include "launch/cluster_calls.hpp"
#include "launch/process_host.hpp"
#include "launch/role_parts.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/carrier.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace troupe::launch {

namespace {

/// False if the loop was stopped before the company was ready.
bool wait_until_ready(generation_service& service, const boost::asio::io_context& loop) {
  while (!service.status().ready) {
    if (loop.stopped()) return false;
    std::this_thread::sleep_for(limits::heartbeat_interval / 10);
  }
  return true;
}

/// Everything runs in the main thread's loop, except the drain and the visitor.
class cluster_process {
 public:
  cluster_process(const recipe& plan, const visitor& visit) : plan_(plan), visit_(visit) {}

  result<void> run() {
    process_calls processes;
    processes.replaces_roles = true;
    processes.start = [this](const std::string& name) { boost::asio::post(loop_, [this, name] { start(name); }); };
    processes.kill = [this](std::int64_t pid) {
      boost::asio::post(loop_, [this, pid] { host_.signal(static_cast<pid_t>(pid), SIGKILL); });
    };
    processes.give_up = [this](const std::string& name) { boost::asio::post(loop_, [this, name] { give_up(name); }); };
    TROUPE_ASSIGN(front_, front::open(system_, carrier_, plan_, processes));
    address_ = carrier_.publish(caf::actor_cast<caf::actor>(front_->supervisor()), "supervisor");
    for (const auto& role : company_roles(plan_.size))
      if (role.kind != cluster::role_kind::router) start(role.name);

    wait_for_child();
    stop_.async_wait([this](auto failed, int) {
      if (!failed) begin_drain();
    });
    if (visit_) guide_ = std::thread([this] { show(); });
    loop_.run(); // until the last child has ended after a drain
    if (guide_.joinable()) guide_.join();
    if (drainer_.joinable()) drainer_.join();
    if (failures_ > 0) return error{errc::bug, std::to_string(failures_) + " of the role processes did not end well"};
    log::info("drained");
    return {};
  }

 private:
  void start(const std::string& name) {
    if (stopping_) return;
    std::vector<std::string> arguments{"--log-level", log_level(), "role", "--name", name, "--supervisor", address_};
    const auto site = plan_.sites.find(name);
    const bool here = site == plan_.sites.end();
    const auto listen = carrier_options_of(plan_, here ? number_of(name) : plan_.progress_cpus.size());
    arguments.insert(arguments.end(),
                     {"--host", here ? listen.host : site->second.host, "--spin-rounds",
                      std::to_string(listen.spin_rounds), "--progress-cpu", std::to_string(listen.progress_cpu)});
    if (!listen.secret_file.empty()) arguments.insert(arguments.end(), {"--secret-file", listen.secret_file});
    if (const auto device = plan_.devices.find(name); device != plan_.devices.end())
      arguments.insert(arguments.end(), {"--device", device->second});
    if (here) arguments.insert(arguments.end(), {"--parent", std::to_string(getpid())});
    const auto pid = host_.start(name, arguments, here ? "" : site->second.command);
    if (!pid) log::error("{}", pid.error().message);
  }

  /// Place among company_roles(), where process 0 is the first.
  std::size_t number_of(const std::string& name) const {
    const auto roles = company_roles(plan_.size);
    const auto role = std::find_if(roles.begin(), roles.end(), [&](const auto& r) { return r.name == name; });
    return static_cast<std::size_t>(role - roles.begin());
  }

  void wait_for_child() {
    child_.async_wait([this](auto failed, int) {
      if (failed) return;
      for (const auto& [name, pid, status] : host_.reap()) on_end(name, pid, status);
      if (!stopping_ || !host_.empty()) return wait_for_child();
      loop_.stop();
    });
  }

  void on_end(const std::string& name, pid_t pid, int status) {
    if (stopping_ && status != 0) ++failures_;
    caf::anon_send(front_->supervisor(), process_exited{name, pid, status});
  }

  void show() {
    if (wait_until_ready(front_->service(), loop_)) visit_(*front_);
    std::raise(SIGTERM);
  }

  /// In a thread of its own, since children may still die and be replaced while the last requests end.
  void begin_drain() {
    drainer_ = std::thread([this] {
      front_->drain();
      boost::asio::post(loop_, [this] { stop_children(); });
    });
  }

  /// Restarts have not helped, so the cluster ends: a level above can change something (operations.md 1.1).
  void give_up(const std::string& name) {
    log::error("{} died {} times within {} s: the cluster ends", name, limits::restart_intensity + 1,
               limits::restart_period.count());
    ++failures_;
    stop_children();
  }

  void stop_children() {
    if (std::exchange(stopping_, true)) return;
    if (host_.empty()) return loop_.stop();
    host_.signal_all(SIGTERM);
    deadline_.expires_after(limits::drain_timeout + limits::rpc_timeout);
    deadline_.async_wait([this](auto failed) {
      if (!failed) host_.signal_all(SIGKILL);
    });
  }

  const recipe& plan_;
  const visitor& visit_;
  boost::asio::io_context loop_;
  boost::asio::signal_set stop_{loop_, SIGTERM, SIGINT};
  boost::asio::signal_set child_{loop_, SIGCHLD};
  boost::asio::steady_timer deadline_{loop_};
  process_host host_;
  system_config config_{reach::network, 2, carrier_options_of(plan_, 0)};
  caf::actor_system system_{config_};
  net::carrier carrier_{system_};
  std::unique_ptr<front> front_;
  std::string address_; ///< of the supervisor
  std::thread guide_;
  std::thread drainer_;
  bool stopping_ = false;
  int failures_ = 0;
};

/// The only process there is stands still: whoever started it can start it again, which a hanging one would not tell.
void end_this_process(std::int64_t) {
  log::error("a step took longer than {} s; a smaller --max-num-batched-tokens makes steps shorter",
             limits::health_patience.count());
  log::default_logger()->flush();
  std::_Exit(1);
}

result<kv_cache_actor> start_kv_cache(caf::actor_system& system, const recipe& plan, const front& house) {
  TROUPE_ASSIGN(const auto assignment, join(system, house.supervisor(), "kv_cache-0"));
  TROUPE_ASSIGN(const auto model, open_model(plan.serving));
  TROUPE_ASSIGN(const auto device, open_compute_device(plan.serving, 0, 1));
  TROUPE_ASSIGN(auto experts, make_local_experts(model, device));
  TROUPE_ASSIGN(auto parts, make_kv_cache(model, assignment, device, house.supervisor(), std::move(experts)));
  return system.spawn<caf::detached>(kv_cache, std::move(parts));
}

} // namespace

result<void> run_in_processes(const recipe& plan, const visitor& visit) {
  TROUPE_TRY(check_devices(plan)); // again: flags may have changed the usual one
  return cluster_process(plan, visit).run();
}

result<void> run_in_one_process(const recipe& plan, const visitor& visit) {
  leave_at_once_on({SIGTERM, SIGINT});
  system_config config(reach::network, 2); // other processes reach the job gateway
  caf::actor_system system(config);
  net::carrier carrier(system);
  TROUPE_ASSIGN(const auto house, front::open(system, carrier, plan, {.kill = end_this_process}));
  TROUPE_ASSIGN(const auto kv_cache, start_kv_cache(system, plan, *house));
  boost::asio::io_context loop;
  boost::asio::signal_set stop(loop, SIGTERM, SIGINT);
  stop.async_wait([](auto, int) {});

  if (!visit) loop.run();
  if (visit && wait_until_ready(house->service(), loop)) visit(*house);
  house->drain();
  caf::anon_send_exit(kv_cache, caf::exit_reason::user_shutdown);
  return {};
}

} // namespace troupe::launch
