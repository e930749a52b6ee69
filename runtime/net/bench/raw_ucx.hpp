// One end of a plain UCP connection: what the transport is measured against. Active messages, polled by the thread that
// calls, one send a message, no order, no credit, no liveness: as little as UCX allows.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/result.hpp"
#include "runtime/core/segment.hpp"
#include "runtime/net/bench/figures.hpp"

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace troupe::net::bench {

/// One thread only. The measured end calls the verbs; the other one is in serve() meanwhile.
class raw_ucx {
 public:
  /// `tls` as in UCX_TLS. `watched`: UCX looks after the peer (its mode PEER; not on shared memory), as between hosts
  /// it must, and sends large messages another way. Errors: unsupported when UCX cannot have it here.
  static result<std::unique_ptr<raw_ucx>> open(const std::string& tls, bool watched);
  ~raw_ucx();

  /// Where the other end connects to.
  std::vector<std::byte> address() const;
  result<void> connect(std::span<const std::byte> peer);

  /// Echoes pings and acknowledges the rest until the other end stops us, or for `patience` at most.
  result<void> serve(duration patience);
  void stop_peer();

  /// Round trips of small_bytes, in microseconds.
  std::vector<double> ping_pong(duration how_long);
  /// Messages of small_bytes a second.
  double small_rate(duration how_long);
  /// Messages of large_bytes a second.
  double large_rate(duration how_long);

 private:
  enum verb : unsigned { ping, pong, small, large, ack, stop, verb_count };

  raw_ucx() = default;
  result<void> init(const std::string& tls);
  template <verb Verb>
  void handle();
  ucs_status_t on_message(verb what, void* data, std::size_t size, const ucp_am_recv_param_t& how);
  void receive_large(void* descriptor, std::size_t size);
  void acknowledge(const std::uint32_t& quarter);
  void send(verb what, std::span<const std::byte> bytes);
  double rate_of(verb what, std::span<const std::byte> bytes, std::uint32_t window, duration how_long);
  void progress() { ucp_worker_progress(worker_); }

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h peer_ = nullptr;
  std::vector<std::byte> small_ = std::vector<std::byte>(small_bytes);
  segment large_ = segment::allocate(large_bytes);
  std::vector<segment> room_; ///< for large messages; the one used last is warm and used next
  std::uint64_t received_ = 0;
  std::uint64_t pongs_ = 0;
  std::uint64_t acked_ = 0;
  bool stopped_ = false;
  bool watched_ = false;
};

} // namespace troupe::net::bench
