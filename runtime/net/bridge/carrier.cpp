#include "runtime/net/carrier.hpp"

#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/secret.hpp"
#include "runtime/net/ucx/ucx_transport.hpp"

namespace troupe::net {

result<void> configure_carrier(caf::actor_system_config& config, const carrier_options& options,
                               std::vector<message_codec> codecs) {
  ucx_options how;
  how.host = options.host;
  how.port = options.port;
  how.spin_rounds = options.spin_rounds;
  how.cpu = options.progress_cpu;
  TROUPE_ASSIGN(how.secret, load_cluster_secret(secret_sources_from_environment(options.secret_file)));
  TROUPE_ASSIGN(auto wire, make_ucx_transport(std::move(how)));
  bridge::load(config, std::move(wire), std::move(codecs));
  return {};
}

std::string carrier::publish(const caf::actor& whom, const std::string& name) {
  return bridge::of(system_).publish(whom, name);
}

result<caf::actor> carrier::connect(const std::string& address) {
  const auto slash = address.rfind('/');
  const auto host = address.find("://");
  if (host == address.npos || slash < host + 3)
    return error{errc::bad_input, "address \"" + address + "\": expected ucx://host:port/uid/name"};
  auto& bridge = bridge::of(system_);
  // Handles are narrowed by whoever knows the interface, so any is taken here.
  TROUPE_ASSIGN(const auto found, bridge.look_up(address.substr(0, slash), address.substr(slash + 1)));
  return caf::actor_cast<caf::actor>(found.actor);
}

void carrier::leave() { bridge::of(system_).wire().stop(); }

void carrier::pin(const caf::actor& whom) { bridge::of(system_).pin(whom); }

} // namespace troupe::net
