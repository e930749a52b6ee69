// One connection's way out: frames wait here until the receiver has room for them, small ones leave together in a
// parcel, large ones are announced and fetched. Under the wire's lock, but for what says otherwise.
// Invariant: frames leave in the order they came in; hot bytes and controls pass them.
#pragma once

#include "runtime/net/credit.hpp"
#include "runtime/net/frame_format.hpp"
#include "runtime/net/ucx/wire.hpp"

#include <boost/container/small_vector.hpp>

#include <atomic>
#include <deque>

namespace troupe::net {

class outbound;

/// A frame on its way out; as a job, it puts itself into the queue of its connection.
struct outgoing_frame final : job, wire_op {
  /// Copies `meta`. Any thread.
  outgoing_frame(std::shared_ptr<outbound> via, stream_id stream, std::span<const std::byte> meta,
                 std::span<const segment> parts);
  ~outgoing_frame() override;
  void run(std::unique_ptr<job> self) override;

  bool small() const { return segments.empty() && prefix + meta_bytes <= parcel_bytes_max; }
  /// What it takes of the receiver's room.
  std::uint64_t room_bytes() const { return data_bytes; }

  static constexpr std::size_t prefix = sizeof(channel_header) + sizeof(frame_header);

  std::shared_ptr<outbound> to;
  std::weak_ptr<outbound> announced_by; ///< of bulk, from then on: told when all has been fetched
  frame_header header;
  std::size_t meta_bytes;
  std::uint64_t data_bytes;            ///< meta and segments
  std::vector<std::byte> buffer;       ///< prefix (filled in when it leaves), meta
  std::vector<std::byte> announcement; ///< of bulk: what travels in the header of the active message
  boost::container::small_vector<segment, 2> segments;
};

class outbound : public std::enable_shared_from_this<outbound> {
 public:
  /// `on_failure` is called once when UCX refuses to send; it may not touch this object.
  outbound(wire& w, std::shared_ptr<returned_room> back, std::function<void(const error&)> on_failure)
      : wire_(w), back_(std::move(back)), on_failure_(std::move(on_failure)) {}

  /// The way is known; controls and hot bytes may leave. `channel`, `tag`: what the other side expects.
  void open(ucx_endpoint endpoint, std::uint32_t channel, std::uint64_t tag);
  /// The other side listens: frames may leave, too.
  void start();
  /// Whatever waits is lost; what UCX has begun to send may still arrive.
  void stop_sending();
  /// The receiver's process has ended: without failure detection UCX would keep what it has not fetched for ever.
  void take_back_segments();
  /// Whatever is not there yet is lost.
  void close();

  /// Joins the queue; leaves when the progress thread flushes next, together with others.
  void add(std::unique_ptr<outgoing_frame> frame);
  /// Leaves at once if nothing is before it.
  void send_now(std::unique_ptr<outgoing_frame> frame);
  /// Sends as much as the receiver has room for.
  void flush();
  /// At most transport::hot_bytes_max bytes. False when limits::peer_hot_waiting_max are waiting already.
  bool send_hot(std::uint32_t lane, std::span<const std::byte> bytes);
  void send_control(control_lane lane) { (void)send_hot(static_cast<std::uint32_t>(lane), {}); }
  /// A large frame of so many bytes has been fetched, or given up.
  void fetched(std::uint64_t bytes);
  /// What the receiver says it has room for again. False if that cannot be.
  bool room_back(room back);
  /// Sends what receipts have given back, if nothing has taken it along by now. Takes the lock.
  void return_room();
  /// UCX's error handler.
  void on_endpoint_failure(ucs_status_t status) { on_failure_(ucx_error("ucx: the connection broke", status)); }
  /// Nothing waits here, so that a frame may leave at once without overtaking another.
  bool idle() const { return queue_.empty(); }
  /// Everything has been sent, and fetched where it is fetched.
  bool quiet() const { return queue_.empty() && in_flight_.empty(); }

  /// Any thread: counts a frame in, unless limits::peer_waiting_bytes_max wait already.
  bool reserve(std::uint64_t bytes);

 private:
  struct hot_message;
  struct parcel;
  struct bulk_part;

  struct parcel_plan {
    std::size_t frames;
    std::size_t bytes;
  };

  void flush_soon();
  bool may_announce(std::uint64_t bytes) const;
  std::unique_ptr<outgoing_frame> take_front();
  channel_header header(std::uint32_t lane = 0);
  parcel_plan plan_parcel() const;
  void send_parcel(parcel_plan plan);
  void send_single();
  void send_bulk();
  void send_pieces(const std::shared_ptr<outgoing_frame>& frame, bool meta_in_data);
  /// Gives `op` back when it is done with.
  std::unique_ptr<wire_op> post(message_kind kind, std::span<const std::byte> head, std::span<const ucp_dt_iov_t> data,
                                std::unique_ptr<wire_op> op);

  wire& wire_;
  std::shared_ptr<returned_room> back_;
  std::function<void(const error&)> on_failure_;
  ucx_endpoint endpoint_;
  std::uint32_t channel_ = 0;
  std::uint64_t tag_ = 0;
  bool started_ = false;
  bool closed_ = false;
  bool flush_planned_ = false;
  bool asked_for_room_ = false;
  std::uint32_t sequence_ = 0;
  credit_window credit_;
  std::deque<std::unique_ptr<outgoing_frame>> queue_;
  wire_op_list in_flight_;
  std::uint64_t fetched_bytes_ = 0; ///< of large frames, that the peer is fetching now
  std::size_t hot_in_flight_ = 0;
  std::vector<std::vector<std::byte>> hot_waiting_; ///< before start()
  std::atomic<std::uint64_t> waiting_bytes_{0};
};

} // namespace troupe::net
