#include "runtime/net/ucx/host_identity.hpp"

#include "runtime/net/peer_uri.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <initializer_list>

namespace troupe::net {

namespace {

/// Whether a list of UCX's transports ("tcp,posix", "all", "^tcp") has one within a host.
bool shares_memory(std::string_view transports) {
  constexpr std::array<std::string_view, 9> shared{"all", "shm", "sm", "mm", "posix", "sysv", "cma", "knem", "xpmem"};
  if (transports.empty() || transports.front() == '^') return true;
  while (!transports.empty()) {
    const auto name = transports.substr(0, transports.find(','));
    if (std::ranges::find(shared, name) != shared.end()) return true;
    transports.remove_prefix(std::min(name.size() + 1, transports.size()));
  }
  return false;
}

} // namespace

std::string host_identity(std::string_view transports) {
  std::string out;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> out;
  if (out.empty() || !shares_memory(transports)) return fresh_uid(); // like nobody else's
  out += " " + std::to_string(::geteuid());
  for (const char* space : {"net", "mnt", "ipc", "pid"}) {
    struct stat inode {};
    ::stat((std::string("/proc/self/ns/") + space).c_str(), &inode);
    out += " " + std::to_string(inode.st_ino);
  }
  return out;
}

const std::string& this_host() {
  static const std::string identity = [] {
    const char* const transports = std::getenv("UCX_TLS");
    return host_identity(transports ? transports : "");
  }();
  return identity;
}

} // namespace troupe::net
