// Everything here runs in a signal handler: system calls, no memory, no locks.
#include "runtime/model/bus_error.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace troupe::model {
namespace {

constexpr std::size_t line_bytes_max = 4096 + 128; // a path and what stands before it

struct maps_line {
  char text[line_bytes_max];
  std::size_t size = 0;
};

/// Hexadecimal digits from `at` on; moves `at` behind them.
std::uintptr_t read_hex(const char*& at) {
  std::uintptr_t out = 0;
  for (;; ++at) {
    if (*at >= '0' && *at <= '9')
      out = out * 16 + static_cast<std::uintptr_t>(*at - '0');
    else if (*at >= 'a' && *at <= 'f')
      out = out * 16 + static_cast<std::uintptr_t>(*at - 'a' + 10);
    else
      return out;
  }
}

/// "7f00-7f10 r--p 00000000 08:01 42   /a/file": the path if `address` lies in the range, else null.
const char* path_in(const maps_line& line, std::uintptr_t address) {
  const char* at = line.text;
  const auto begin = read_hex(at);
  if (*at++ != '-') return nullptr;
  const auto end = read_hex(at);
  return begin <= address && address < end ? std::strchr(at, '/') : nullptr;
}

/// Reads /proc/self/maps into `line`, one after the other, until one holds `address`.
const char* mapped_path(std::uintptr_t address, maps_line& line) {
  const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  const char* found = nullptr;
  char c = 0;
  while (!found && fd >= 0 && ::read(fd, &c, 1) == 1) {
    const bool ends = c == '\n';
    if (line.size + 1 < sizeof line.text) line.text[line.size++] = ends ? '\0' : c;
    if (!ends) continue;
    line.text[line.size] = '\0';
    found = path_in(line, address);
    line.size = 0;
  }
  if (fd >= 0) ::close(fd);
  return found;
}

/// Returning runs the faulty access again, and by then the signal has its default effect.
void on_bus_error(int, siginfo_t* info, void*) {
  maps_line line;
  const auto* path = mapped_path(reinterpret_cast<std::uintptr_t>(info->si_addr), line);
  const char* const parts[] = {"troupe: ", path ? path : "a mapped file",
                               ": changed or became unreadable while in use; a checkpoint must stay as it is\n"};
  iovec out[3];
  for (int i = 0; i < 3; ++i) out[i] = {const_cast<char*>(parts[i]), std::strlen(parts[i])};
  (void)!::writev(STDERR_FILENO, out, 3);
}

} // namespace

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND;
  ::sigaction(SIGBUS, &action, nullptr);
}

} // namespace troupe::model
