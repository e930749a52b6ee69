// The carrier over CAF's binary actor system protocol. BASP has no authentication (operations.md 0.7), so a cluster
// binds to 127.0.0.1 unless its recipe says otherwise.
#include "runtime/core/limits.hpp"
#include "runtime/net/carrier.hpp"

#include <caf/io/middleman.hpp>

#include <charconv>
#include <optional>
#include <string_view>

namespace troupe::net {

namespace {

constexpr std::string_view scheme = "basp://";

struct host_port {
  std::string host;
  std::uint16_t port = 0;
};

std::optional<host_port> parse_address(std::string_view address) {
  if (!address.starts_with(scheme)) return std::nullopt;
  address.remove_prefix(scheme.size());
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const auto digits = address.substr(colon + 1);
  host_port out{std::string(address.substr(0, colon)), 0};
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
  if (failed != std::errc{} || end != digits.data() + digits.size() || out.port == 0) return std::nullopt;
  return out;
}

class basp_carrier final : public carrier {
 public:
  explicit basp_carrier(caf::actor_system& system) : system_(system), middleman_(system.middleman()) {}

  result<std::string> publish(const caf::actor& whom, const std::string& host, std::uint16_t port) override {
    const auto bound = middleman_.publish(whom, port, host.c_str(), true);
    if (!bound)
      return error{errc::bad_input, "cannot bind " + host + ":" + std::to_string(port) + ": " + text(bound.error())};
    return std::string(scheme) + host + ":" + std::to_string(*bound);
  }

  result<caf::actor> connect(const std::string& address) override {
    const auto target = parse_address(address);
    if (!target) return error{errc::bad_input, "address \"" + address + "\": expected basp://host:port"};
    auto peer = middleman_.remote_actor<caf::actor>(target->host, target->port);
    if (!peer) return error{errc::disconnected, "no actor at " + address + ": " + text(peer.error())};
    return std::move(*peer);
  }

 private:
  std::string text(const caf::error& e) const { return system_.render(e); }

  caf::actor_system& system_;
  caf::io::middleman& middleman_;
};

} // namespace

void configure_carrier(caf::actor_system_config& config) {
  config.load<caf::io::middleman>();
  // Deserializing in the socket's thread saves one thread hop a message (30 us, caf-ucx.md section 4).
  config.set("middleman.workers", 0);
}

std::unique_ptr<carrier> make_carrier(caf::actor_system& system) { return std::make_unique<basp_carrier>(system); }

} // namespace troupe::net
