#include "runtime/net/ucx/net_devices.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <array>
#include <filesystem>
#include <memory>

namespace troupe::net {

namespace {

namespace fs = std::filesystem;

std::string text_of(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> out{};
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  if (address->sa_family == AF_INET6) bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  return bytes && ::inet_ntop(address->sa_family, bytes, out.data(), out.size()) ? out.data() : "";
}

/// Without the label of a further address ("eth0:1").
std::string interface_of(const std::string& address) {
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(found, &::freeifaddrs);
  for (const auto* one = found; one; one = one->ifa_next) {
    if (!one->ifa_addr || text_of(one->ifa_addr) != address) continue;
    const std::string name = one->ifa_name;
    return name.substr(0, name.find(':'));
  }
  return {};
}

/// ",mlx5_0:1,mlx5_1:1"
std::string infiniband_ports() {
  std::string out;
  std::error_code none;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", none))
    for (const auto& port : fs::directory_iterator(device.path() / "ports", none))
      out += "," + device.path().filename().string() + ":" + port.path().filename().string();
  return out;
}

} // namespace

std::string net_devices_for(const boost::asio::ip::address& address) {
  if (address.is_loopback()) return "lo";
  auto plain = address;
  if (plain.is_v6()) {
    auto v6 = plain.to_v6();
    v6.scope_id(0); // as getifaddrs() has it
    plain = v6;
  }
  const auto name = interface_of(plain.to_string());
  return name.empty() ? name : name + infiniband_ports();
}

} // namespace troupe::net
