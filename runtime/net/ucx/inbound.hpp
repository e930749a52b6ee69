// One connection's way in: frames are checked, put in order, their segments fetched into pooled memory, and handed to
// the listener with the receipt for their room. Progress thread only, inside UCX's callbacks.
// Invariant: frames are announced in the order of sending; a gap means that the connection is broken.
#pragma once

#include "runtime/net/credit.hpp"
#include "runtime/net/frame_format.hpp"
#include "runtime/net/stream_order.hpp"
#include "runtime/net/ucx/ucx_worker.hpp"

#include <boost/container/small_vector.hpp>
#include <boost/intrusive/list.hpp>

#include <optional>

namespace troupe::net {

/// A frame that is kept because it is fetched, or waits for one that is.
struct incoming_frame {
  segment meta;
  boost::container::small_vector<segment, 2> segments;
  receipt room;
  std::size_t missing = 0; ///< messages that are not here yet
};

class inbound;

/// A rendezvous under way: UCX writes into `place`.
struct fetch : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  std::shared_ptr<inbound> to;
  stream_id stream;
  stream_order<incoming_frame>::held* place = nullptr;
};
using fetch_list = boost::intrusive::list<fetch, boost::intrusive::constant_time_size<false>>;

class inbound : public std::enable_shared_from_this<inbound> {
 public:
  /// `on_failure` is called when a fetch fails later; `fetches` outlives the worker.
  inbound(peer_id from, transport_listener& listener, std::shared_ptr<returned_room> back, fetch_list& fetches,
          std::function<void(const error&)> on_failure)
      : from_(from), listener_(listener), back_(std::move(back)), fetches_(fetches),
        on_failure_(std::move(on_failure)) {}

  /// The data of a bulk message, as UCX offers it.
  struct offer {
    ucp_worker_h worker;
    void* data; ///< bytes, or what ucp_am_recv_data_nbx takes
    std::size_t size;
    bool to_fetch; ///< rendezvous: not here yet
  };

  /// `frames` is aligned to 16. Errors: bad_input when the peer breaks the protocol.
  result<void> on_parcel(std::span<const std::byte> frames);
  result<void> on_bulk(std::span<const std::byte> announcement, const offer& what);
  result<void> on_piece(std::uint32_t message, const offer& what);
  /// Nothing is handed over any more. A fetch from a process that has ended may never end, so that its memory stays in
  /// place, but empty.
  void close();

 private:
  /// The bulk frame whose pieces come next.
  struct announced {
    stream_id stream;
    stream_order<incoming_frame>::held* place = nullptr;
    boost::container::small_vector<std::span<std::byte>, 4> pieces; ///< in the order of their messages
    std::size_t next = 0;
  };

  static void on_fetched(void* request, ucs_status_t status, std::size_t, void* fetch_done);
  result<receipt> admit(const frame_header& header, std::uint64_t bytes);
  void hand_over(incoming_frame& frame);
  void take(stream_id stream, stream_order<incoming_frame>::held& place, std::span<std::byte> to, const offer& what);
  void finish(std::unique_ptr<fetch> done, ucs_status_t status);
  void message_done(stream_id stream, stream_order<incoming_frame>::held& place);

  peer_id from_;
  transport_listener& listener_;
  std::shared_ptr<returned_room> back_;
  fetch_list& fetches_;
  std::function<void(const error&)> on_failure_;
  std::uint32_t sequence_ = 0; ///< of the next frame
  bool closed_ = false;
  stream_order<incoming_frame> order_;
  std::optional<announced> announced_;
};

} // namespace troupe::net
