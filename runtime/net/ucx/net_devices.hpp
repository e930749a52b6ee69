// Which network devices UCX uses, so that it listens where this process does and nowhere else.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <string>

namespace troupe::net {

/// As in UCX_NET_DEVICES: the interface that has `address` and, unless that is loopback, every port of InfiniBand,
/// which nobody reaches without its own authentication. Empty, so that UCX decides, if no interface has it.
std::string net_devices_for(const boost::asio::ip::address& address);

} // namespace troupe::net
