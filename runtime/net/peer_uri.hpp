// "ucx://host:port/uid": how a process is named and reached. The uid is new with every start, so that a process is not
// taken for the one that had its port before.
#pragma once

#include "runtime/core/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::net {

struct peer_uri {
  std::string scheme; ///< "ucx"
  std::string host;   ///< a name or an address; IPv6 in brackets
  std::uint16_t port = 0;
  std::string uid; ///< empty: whoever answers there
};

/// Errors: bad_input, naming what is wrong.
result<peer_uri> parse_peer_uri(std::string_view text);
std::string to_string(const peer_uri& uri);
/// 16 hexadecimal digits nobody has had before.
std::string fresh_uid();

} // namespace troupe::net
