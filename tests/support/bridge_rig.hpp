// Actor systems in this process, connected by any kind of transport; their actors pinned or scheduled.
#pragma once

#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/bridge/segment_wire.hpp"
#include "runtime/net/sim/sim_network.hpp"
#include "runtime/net/ucx/ucx_transport.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/all.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {

enum class wire { sim, ucx_tcp, ucx_shm };

struct bridge_setup {
  wire kind = wire::sim;
  bool pinned = false;
  net::sim_rules rules;

  friend std::ostream& operator<<(std::ostream& out, const bridge_setup& s) {
    constexpr const char* names[] = {"sim", "ucx tcp", "ucx shm"};
    return out << names[static_cast<int>(s.kind)] << (s.pinned ? ", pinned" : ", scheduled");
  }
};

/// One process's worth: what is spawned through it is pinned if the setup says so, and killed at the end.
class bridge_node {
 public:
  template <class Configure>
  bridge_node(bridge_setup setup, std::unique_ptr<net::transport> wire, Configure configure) : setup_(setup) {
    config_.set("scheduler.policy", caf::atom("sharing"));
    config_.set("scheduler.max-threads", std::size_t{2});
    auto codecs = configure(config_);
    net::bridge::load(config_, std::move(wire), std::move(codecs));
    system_ = std::make_unique<caf::actor_system>(config_);
  }
  ~bridge_node() {
    for (const auto& a : spawned_) caf::anon_send_exit(a, caf::exit_reason::kill);
  }

  caf::actor_system& system() { return *system_; }
  net::bridge& bridge() { return net::bridge::of(*system_); }
  const std::string& uri() { return bridge().wire().uri(); }

  template <class... Ts>
  auto spawn(Ts&&... xs) {
    auto made = system_->spawn(std::forward<Ts>(xs)...);
    if (setup_.pinned) bridge().pin(made);
    const std::lock_guard lock(mutex_);
    spawned_.push_back(caf::actor_cast<caf::strong_actor_ptr>(made));
    return made;
  }

  template <class Handle = caf::actor>
  Handle reach(bridge_node& other, const std::string& name) {
    auto found = bridge().remote_actor<Handle>(other.uri(), name);
    BOOST_REQUIRE_MESSAGE(found.has_value(), (found ? "" : found.error().message));
    return *found;
  }

 private:
  bridge_setup setup_;
  caf::actor_system_config config_;
  std::unique_ptr<caf::actor_system> system_;
  std::mutex mutex_; ///< actors may spawn others
  std::vector<caf::strong_actor_ptr> spawned_;
};

/// Nodes that reach each other.
class bridge_world {
 public:
  explicit bridge_world(bridge_setup setup, std::uint64_t seed = 1) : setup_(setup), network_(seed, setup.rules) {
    if (setup.kind == wire::sim) network_.run_in_background();
  }

  std::unique_ptr<net::transport> make_transport() {
    if (setup_.kind == wire::sim) return network_.make_transport();
    net::ucx_options options;
    options.secret = net::cluster_secret("the tests' own secret");
    options.transports = setup_.kind == wire::ucx_tcp ? "tcp" : "posix,sysv,cma,self";
    auto made = net::make_ucx_transport(std::move(options));
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    return std::move(*made);
  }

  template <class Configure>
  std::unique_ptr<bridge_node> make_node(Configure configure) {
    return std::make_unique<bridge_node>(setup_, make_transport(), configure);
  }

  net::sim_network& network() { return network_; }

 private:
  bridge_setup setup_;
  net::sim_network network_;
};

template <class T>
struct reply {
  std::optional<T> value;
  caf::error error;
};

/// Asks and waits; the test's thread is the requester.
template <class T, class Handle, class... Ts>
reply<T> ask(caf::actor_system& system, const Handle& whom, Ts&&... xs) {
  reply<T> out;
  caf::scoped_actor self{system};
  self->request(whom, std::chrono::seconds(5), std::forward<Ts>(xs)...)
      .receive([&](T& value) { out.value = std::move(value); }, [&](caf::error& e) { out.error = std::move(e); });
  return out;
}

/// What is expected to come some time: another process is under way. False after five seconds.
template <class Condition>
bool comes_true(Condition condition) {
  for (const auto until = clock::now() + std::chrono::seconds(5); clock::now() < until;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

} // namespace troupe::test
