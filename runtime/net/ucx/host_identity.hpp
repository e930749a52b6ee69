// Who shares memory with whom: processes of one kernel in the same namespaces, of the same user.
#pragma once

#include <string>
#include <string_view>

namespace troupe::net {

/// Two processes with the same identity may use shared memory and wake each other by it: UCX's wake-up datagrams live
/// in the network namespace, its memory in the mount and IPC namespaces, and copies out of a process need its pids.
/// `transports` as in UCX_TLS: without any for shared memory a process is alone.
std::string host_identity(std::string_view transports);

/// Of this process, whose transports UCX_TLS names: the same at every call.
const std::string& this_host();

} // namespace troupe::net
