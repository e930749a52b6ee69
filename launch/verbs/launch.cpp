// troupe launch RECIPE: process 0 hosts supervisor, router and gateway, and starts a child process for every other
// role.
//
//   SIGTERM ─▶ router drains ─▶ children get SIGTERM and end ─▶ exit 0
#include "actors/system_config.hpp"
#include "launch/cluster_calls.hpp"
#include "launch/front.hpp"
#include "launch/process_host.hpp"
#include "launch/serving_flags.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/carrier.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>

namespace troupe::launch {

namespace {

/// Everything but open() runs in the main thread's loop.
class cluster_process {
 public:
  explicit cluster_process(recipe plan) : plan_(std::move(plan)) {}

  result<void> run() {
    const process_calls processes{
        [this](const std::string& name) { boost::asio::post(loop_, [this, name] { start(name); }); },
        [this](std::int64_t pid) { boost::asio::post(loop_, [this, pid] { host_.signal(pid_t(pid), SIGKILL); }); }};
    TROUPE_ASSIGN(front_, front::open(system_, *carrier_, plan_, processes));
    TROUPE_ASSIGN(address_, carrier_->publish(caf::actor_cast<caf::actor>(front_->supervisor()), "127.0.0.1", 0));
    for (const auto& role : company_roles(plan_.size))
      if (role.kind != cluster::role_kind::router) start(role.name);

    wait_for_child();
    stop_.async_wait([this](auto failed, int) {
      if (!failed) begin_drain();
    });
    loop_.run(); // until the last child has ended after a drain
    drainer_.join();
    if (failures_ > 0) return error{errc::bug, std::to_string(failures_) + " processes did not end well"};
    log::info("drained");
    return {};
  }

 private:
  void start(const std::string& name) {
    if (stopping_) return;
    const auto pid =
        host_.start(name, {"role", "--name", name, "--supervisor", address_, "--parent", std::to_string(getpid())});
    if (!pid) log::error("{}", pid.error().message);
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

  /// In a thread of its own, since children may still die and be replaced while the last requests end.
  void begin_drain() {
    drainer_ = std::thread([this] {
      front_->drain();
      boost::asio::post(loop_, [this] { stop_children(); });
    });
  }

  void stop_children() {
    stopping_ = true;
    if (host_.empty()) return loop_.stop();
    host_.signal_all(SIGTERM);
    deadline_.expires_after(limits::drain_timeout + limits::rpc_timeout);
    deadline_.async_wait([this](auto failed) {
      if (!failed) host_.signal_all(SIGKILL);
    });
  }

  recipe plan_;
  boost::asio::io_context loop_;
  boost::asio::signal_set stop_{loop_, SIGTERM, SIGINT};
  boost::asio::signal_set child_{loop_, SIGCHLD};
  boost::asio::steady_timer deadline_{loop_};
  process_host host_;
  system_config config_{reach::network, 2};
  caf::actor_system system_{config_};
  std::unique_ptr<net::carrier> carrier_ = net::make_carrier(system_);
  std::unique_ptr<front> front_;
  std::string address_; ///< of the supervisor
  std::thread drainer_;
  bool stopping_ = false;
  int failures_ = 0;
};

} // namespace

void add_launch(CLI::App& app) {
  auto plan = std::make_shared<recipe>();
  auto* verb = app.add_subcommand("launch", "start the cluster of a recipe: every role in a process of its own");
  // CLI11 runs options in the order they were added: the flags go over what the recipe says.
  const auto read = [plan](const std::string& file) {
    auto loaded = load_recipe(file);
    if (!loaded) throw CLI::ValidationError(loaded.error().message);
    *plan = std::move(*loaded);
  };
  verb->add_option_function<std::string>("recipe", read, "e.g. examples/recipes/local.yaml")->required();
  verb->add_option("--model", plan->serving.model_dir, "instead of the recipe's model");
  verb->add_option("--expert-shards", plan->size.expert_shards, "how many processes share the experts")
      ->check(CLI::Range(1, 1024));
  add_front_flags(*verb, plan->front);
  add_serving_flags(*verb, plan->serving);
  verb->callback([plan] { finish(cluster_process(*plan).run()); });
}

} // namespace troupe::launch
