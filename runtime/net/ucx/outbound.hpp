// One connection's way out: small frames are written into a parcel, which leaves when the progress thread flushes next;
// large ones are announced and fetched; whatever the receiver has no room for waits. Under the wire's lock, but for
// what says otherwise. Invariant: frames leave in the order they came in; hot bytes and controls pass them.
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
  outgoing_frame(std::shared_ptr<outbound> via, stream_id to_stream, std::span<const std::byte> bytes,
                 std::span<const segment> parts);
  ~outgoing_frame() override;
  void run(std::unique_ptr<job> self) override;

  bool small() const { return segments.empty() && fits_parcel(meta.size()); }
  /// What it takes of the receiver's room.
  std::uint64_t room_bytes() const { return data_bytes; }

  std::shared_ptr<outbound> to;
  std::weak_ptr<outbound> announced_by; ///< of bulk, from then on: told when all has been fetched
  stream_id stream;
  std::vector<std::byte> meta;
  std::uint64_t data_bytes;            ///< meta and segments
  std::vector<std::byte> announcement; ///< of bulk: what travels in the header of the active message, behind free space
  boost::container::small_vector<segment, 2> segments;
};

class outbound : public std::enable_shared_from_this<outbound> {
 public:
  /// `on_failure` is called once when UCX refuses to send; it may not touch this object.
  outbound(wire& w, std::shared_ptr<returned_room> back, std::function<void(const error&)> on_failure);
  ~outbound();

  /// The way is known; controls and hot bytes may leave. `channel`, `tag`: what the other side expects.
  void open(ucx_endpoint endpoint, std::uint32_t channel, std::uint64_t tag);
  /// The other side listens: frames may leave, too.
  void start();
  /// Whatever waits is lost; what UCX has begun to send may still arrive.
  void stop_sending();
  /// The receiver's process has ended: without failure detection UCX would keep what it has not fetched for ever.
  void take_back_segments();
  /// Whatever is not there yet is lost. True if UCX still holds something of ours.
  bool close();

  /// A frame without segments that nothing has to wait for: leaves with the next flush, without a queue or memory of
  /// its own. False if it has to go through the queue.
  bool add_small(stream_id stream, std::span<const std::byte> meta);
  /// Joins the queue.
  void add(std::unique_ptr<outgoing_frame> frame);
  /// Sends as much as the receiver has room for. What is left needs no further call: it goes when it may.
  void flush();
  /// The same from the progress thread at the end of its round, so that frames of one round leave together.
  void flush_soon();
  /// At most transport::hot_bytes_max bytes. False when limits::peer_hot_waiting_max are waiting already.
  bool send_hot(std::uint8_t lane, std::span<const std::byte> bytes);
  void send_control(control_lane lane) { (void)send_hot(static_cast<std::uint8_t>(lane), {}); }
  /// A large frame of so many bytes has been fetched, or given up.
  void fetched(std::uint64_t bytes);
  /// What the receiver says it has room for again. False if that cannot be.
  bool room_back(room back);
  /// Sends what receipts have given back, if nothing has taken it along by now. Takes the lock.
  void return_room();
  /// UCX's error handler.
  void on_endpoint_failure(ucs_status_t status) { on_failure_(ucx_error("ucx: the connection broke", status)); }
  /// Nothing waits here.
  bool idle() const { return queue_.empty() && !parcel_; }
  /// Everything has been sent, and fetched where it is fetched.
  bool quiet() const { return idle() && in_flight_.empty(); }

  /// Any thread: counts a frame in, unless limits::peer_waiting_bytes_max wait already.
  bool reserve(std::uint64_t bytes);

 private:
  struct hot_message;
  struct parcel;
  struct bulk_part;

  bool may_announce(std::uint64_t bytes) const;
  std::unique_ptr<outgoing_frame> take_front();
  frame_header next_header(stream_id stream, std::size_t meta_bytes);
  /// Writes a head that ends at `data`, before which head_bytes_max are free; returns where it begins.
  std::byte* put_head(std::byte* data, std::uint8_t lane = 0);
  void append(stream_id stream, std::span<const std::byte> meta);
  void send_parcel();
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
  std::unique_ptr<parcel> parcel_; ///< that frames are being written into; before all of the queue
  std::deque<std::unique_ptr<outgoing_frame>> queue_;
  wire_op_list in_flight_;
  std::uint64_t fetched_bytes_ = 0; ///< of large frames, that the peer is fetching now
  std::size_t hot_in_flight_ = 0;
  std::vector<std::vector<std::byte>> hot_waiting_; ///< before start()
  std::atomic<std::uint64_t> waiting_bytes_{0};
};

} // namespace troupe::net
