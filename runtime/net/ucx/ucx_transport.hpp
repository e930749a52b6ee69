// The transport over UCX: shared memory between processes of one host, InfiniBand or TCP between hosts.
#pragma once

#include "runtime/net/secret.hpp"
#include "runtime/net/transport.hpp"

#include <memory>
#include <string>

namespace troupe::net {

struct ucx_options {
  std::string host = "127.0.0.1"; ///< the interface to listen at, and the name others reach it by
  std::uint16_t port = 0;         ///< 0: any
  cluster_secret secret{""};      ///< whoever knows it may connect
  int spin_rounds = 200;          ///< looks at the wire without work before the progress thread sleeps; negative: never
  int cpu = -1;                   ///< for the progress thread; negative: any
  std::string transports;         ///< as UCX_TLS, which wins; empty: what UCX finds
};

/// Binds the address; nobody is let in before start(). Unless UCX_NET_DEVICES says otherwise, UCX's own listeners are
/// at the same interface (net_devices.hpp). Errors: bad_input when the address cannot be bound, unsupported when UCX
/// finds nothing to work with.
result<std::unique_ptr<transport>> make_ucx_transport(ucx_options how);

} // namespace troupe::net
