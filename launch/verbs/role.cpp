// troupe role: one role process of a cluster, started by `troupe launch`. It asks the supervisor what it shall be,
// loads only its own tensors, and serves until it is asked to leave (SIGTERM) or the supervisor is gone.
#include "actors/actor_expert_client.hpp"
#include "actors/expert_shard.hpp"
#include "actors/kv_cache.hpp"
#include "actors/system_config.hpp"
#include "launch/cluster_calls.hpp"
#include "launch/process_host.hpp"
#include "launch/role_parts.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/carrier.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

namespace troupe::launch {

namespace {

struct role_flags {
  std::string name;
  std::string supervisor;
  std::string device; ///< instead of the assignment's
  net::carrier_options listen;
  int parent = 0;
};

int shards_of(const role_assignment& assignment) {
  const auto& owner = assignment.placement.owner;
  return static_cast<int>(std::set<shard_id>(owner.begin(), owner.end()).size());
}

/// The role's actor, and everything it needs that outlives it.
class role_process {
 public:
  explicit role_process(role_flags flags) : flags_(std::move(flags)) {}

  /// Returns the exit status. A drained role has nothing left to save, so its process ends without taking CAF apart;
  /// but its last answers still leave.
  int run() {
    const auto outcome = serve();
    if (!outcome) log::error("{}", outcome.error().message);
    carrier_.leave();
    log::default_logger()->flush();
    return outcome ? 0 : 1;
  }

 private:
  result<void> serve() {
    leave_at_once_on({SIGTERM});
    accept_sigterm();
    TROUPE_ASSIGN(const auto peer, carrier_.connect(flags_.supervisor));
    supervisor_ = caf::actor_cast<supervisor_actor>(peer);
    TROUPE_ASSIGN(auto assignment, join(system_, supervisor_, flags_.name));
    if (!flags_.device.empty()) assignment.options.device = flags_.device;
    TROUPE_ASSIGN(const auto role, start(assignment));
    boost::asio::signal_set leave(loop_, SIGTERM);
    leave.async_wait([](auto, int) {});
    const auto watcher = system_.spawn(&role_process::watch, this, peer, role); // lives as long as its handle

    loop_.run(); // until SIGTERM, or until the supervisor or the role is gone
    const bool drained = !orphaned_ && drain(system_, role, limits::drain_timeout);
    caf::anon_send_exit(role, caf::exit_reason::kill);
    if (!drained) return error{errc::disconnected, flags_.name + " ends without a farewell"};
    log::info("drained");
    return {};
  }

  result<caf::actor> start(const role_assignment& assignment) {
    TROUPE_ASSIGN(auto model, open_model(assignment.options));
    return flags_.name.starts_with("kv_cache") ? start_kv_cache(model, assignment) : start_shard(model, assignment);
  }

  /// While it steps, the expert_shards wait for it, and it waits while they work: each may use all cores.
  result<caf::actor> start_kv_cache(opened_model& model, const role_assignment& assignment) {
    TROUPE_TRY(keep_attention(model));
    TROUPE_ASSIGN(const auto device, open_compute_device(assignment.options, number(), 1));
    const auto shards = shards_of(assignment);
    auto experts = std::make_unique<actor_expert_client>(
        system_, supervisor_, element_of(model, device),
        actor_expert_client::device{device.name(), have_own_cores(assignment.options, 1 + shards)});
    TROUPE_ASSIGN(auto parts, make_kv_cache(model, assignment, device, supervisor_, std::move(experts)));
    return caf::actor_cast<caf::actor>(system_.spawn<caf::detached>(kv_cache, std::move(parts)));
  }

  result<caf::actor> start_shard(opened_model& model, const role_assignment& assignment) {
    TROUPE_TRY(keep_experts(model, assignment.placement.experts_of(assignment.shard)));
    TROUPE_ASSIGN(const auto device, open_compute_device(assignment.options, number(), shards_of(assignment)));
    TROUPE_ASSIGN(auto parts, make_expert_shard(model, assignment, device, supervisor_));
    const auto shard = system_.spawn(expert_shard, std::move(parts));
    const auto address = carrier_.publish(caf::actor_cast<caf::actor>(shard), flags_.name);
    carrier_.pin(caf::actor_cast<caf::actor>(shard));
    caf::anon_send(supervisor_,
                   expert_shard_ready{assignment.process, assignment.shard, device.name(), address, shard});
    return caf::actor_cast<caf::actor>(shard);
  }

  /// 3 of "expert_shard-3".
  int number() const { return std::atoi(flags_.name.c_str() + flags_.name.rfind('-') + 1); }

  /// Ends the loop when either of the two goes away.
  static caf::behavior watch(caf::event_based_actor* self, role_process* process, const caf::actor& supervisor,
                             const caf::actor& role) {
    self->monitor(supervisor);
    self->monitor(role);
    self->set_down_handler([self, process](const caf::down_msg&) {
      process->orphaned_ = true;
      process->loop_.stop();
      self->quit();
    });
    return {[](drain_atom) {}};
  }

  role_flags flags_;
  boost::asio::io_context loop_;
  std::atomic<bool> orphaned_{false};
  system_config config_{reach::network, 1, flags_.listen};
  caf::actor_system system_{config_};
  net::carrier carrier_{system_};
  supervisor_actor supervisor_;
};

} // namespace

void add_role(CLI::App& app) {
  auto flags = std::make_shared<role_flags>();
  auto* verb = app.add_subcommand("role", "one role process of a cluster; `troupe launch` starts them");
  verb->group(""); // not for people: hidden from --help
  verb->add_option("--name", flags->name, "the role's name in the recipe, e.g. expert_shard-0")->required();
  verb->add_option("--supervisor", flags->supervisor, "its address, e.g. ucx://127.0.0.1:41000/3f.../supervisor")
      ->required();
  verb->add_option("--device", flags->device, "instead of the cluster's");
  verb->add_option("--host", flags->listen.host, "address to listen on")->capture_default_str();
  verb->add_option("--secret-file", flags->listen.secret_file, "of the cluster");
  verb->add_option("--spin-rounds", flags->listen.spin_rounds, "of the progress thread before it sleeps");
  verb->add_option("--progress-cpu", flags->listen.progress_cpu, "of the progress thread; negative: any");
  verb->add_option("--parent", flags->parent, "end with this process");
  verb->callback([flags] {
    if (flags->parent) die_with_parent(flags->parent);
    std::signal(SIGINT, SIG_IGN); // Ctrl-C is for process 0, which drains the others in the right order
    init_log(log_level(), flags->name);
    auto& process = *new role_process(*flags); // on purpose never destroyed, see run()
    std::_Exit(process.run());
  });
}

} // namespace troupe::launch
