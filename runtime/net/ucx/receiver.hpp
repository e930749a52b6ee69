// Where UCX hands over what has come in: finds the connection by its channel and tag, and gives each message to whom
// it concerns. Progress thread only. Invariant: no exception leaves a callback; nothing of a stranger is read.
#pragma once

#include "runtime/net/ucx/connections.hpp"

#include <array>

namespace troupe::net {

class receiver {
 public:
  /// `now` is the loop's clock, read once a round.
  receiver(connections& of, peer_table& table, wire& net, const time_point& now)
      : connections_(of), table_(table), net_(net), now_(now) {}

  result<void> attach();
  void on_hot(std::uint8_t lane, hot_handler handler) { handlers_[lane] = std::move(handler); }

 private:
  using recv_param = ucp_am_recv_param_t;
  static ucs_status_t on_parcel(void*, const void*, std::size_t, void* data, std::size_t size, const recv_param*);
  static ucs_status_t on_bulk(void*, const void* head, std::size_t head_size, void*, std::size_t, const recv_param*);
  static ucs_status_t on_piece(void*, const void* head, std::size_t head_size, void*, std::size_t, const recv_param*);
  static ucs_status_t on_hot_bytes(void*, const void*, std::size_t, void* data, std::size_t size, const recv_param*);

  inbound::offer offered(void* data, std::size_t size, const recv_param* how) const;
  peer* sender_of(std::span<const std::byte>& message, std::uint8_t& lane);
  void parcel(std::span<const std::byte> message);
  void bulk(std::span<const std::byte> announcement, const inbound::offer& what);
  void piece(std::span<const std::byte> head, const inbound::offer& what);
  void hot(std::span<const std::byte> message);
  void control(peer& from, control_lane lane);
  template <class Work>
  ucs_status_t safely(Work&& work) noexcept;

  connections& connections_;
  peer_table& table_;
  wire& net_;
  const time_point& now_;
  std::array<hot_handler, transport::hot_lanes_max> handlers_;
};

} // namespace troupe::net
