#include "runtime/exec/device/peer_table.hpp"

#include <cerrno>
#include <csignal>

namespace troupe::exec {

bool is_alive(std::int64_t pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH; }

} // namespace troupe::exec
