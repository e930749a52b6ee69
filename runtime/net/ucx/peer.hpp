// One connection with everything that belongs to it. Fields belong to the progress thread, but for `out`.
//
//   connect() ─▶ dialling ─▶ ready ─▶ up ─▶ down         (dialling ─▶ accepting: the other side's dial wins)
//   a dial comes in ─▶ accepting ─▶ up ─▶ down
#pragma once

#include "runtime/net/liveness.hpp"
#include "runtime/net/ucx/inbound.hpp"
#include "runtime/net/ucx/outbound.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <memory>
#include <optional>
#include <string>

namespace troupe::net {

/// Why a connection ends: "<uri> <how>".
inline error gone(const std::string& uri, const std::string& how) { return {errc::disconnected, uri + " " + how}; }

enum class peer_state : std::uint8_t { dialling, accepting, up, down };

struct peer {
  peer(peer_id number, std::string where) : id(number), uri(std::move(where)) {}

  const peer_id id;
  std::string uri;
  std::atomic<bool> claimed{false}; ///< connect() has handed out the id: its owner must hear of the end
  peer_state state = peer_state::dialling;
  std::uint32_t attempt = 0; ///< a coroutine whose attempt is not this one any more has nothing to say
  bool failing = false;      ///< it is going down; its traffic is ignored
  bool leaving = false;      ///< it has said goodbye ...
  bool goodbye_said = false; ///< ... or we have
  bool ended = false;        ///< it has closed the tether: it fetches nothing of ours any more
  std::shared_ptr<returned_room> back;
  std::shared_ptr<outbound> out;
  std::shared_ptr<inbound> in;
  std::optional<std::uint32_t> channel; ///< ours, once it may be used
  std::vector<std::byte> hello;
  /// The bootstrap's socket; while the peer is up, its end is the peer's end.
  /// Down, it is heard to its end only if UCX still holds something that the peer may be fetching.
  std::shared_ptr<boost::asio::ip::tcp::socket> tether;
  std::optional<liveness> pulse; ///< while up
};

} // namespace troupe::net
