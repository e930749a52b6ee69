// The sending side of a UCX worker, shared by all connections: endpoints, sends, and what UCX still holds of ours.
// Everything here is done under `lock`.
#pragma once

#include "runtime/core/segment.hpp"
#include "runtime/net/job_queue.hpp"
#include "runtime/net/spin_lock.hpp"
#include "runtime/net/ucx/ucx_worker.hpp"

#include <boost/intrusive/list.hpp>

#include <memory>
#include <span>
#include <vector>

namespace troupe::net {

/// The active messages of frame_format.hpp.
enum class message_kind : unsigned { parcel = 1, bulk = 2, piece = 3, hot = 4 };

class outbound;

/// The bytes of a send; UCX may read them until it says it is done.
struct wire_op : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  virtual ~wire_op() = default;
  /// Nobody will fetch them any more.
  virtual void take_back_segments() {}

  const outbound* forgotten_by = nullptr; ///< of those in wire::forgotten
};
using wire_op_list = boost::intrusive::list<wire_op, boost::intrusive::constant_time_size<false>>;

struct wire {
  wire(ucx_worker& of, job_queue& queue) : worker(of), jobs(queue) {}
  wire(const wire&) = delete;
  wire& operator=(const wire&) = delete;
  /// After the worker has gone: frees what UCX never finished.
  ~wire() {
    forgotten.clear_and_dispose([](wire_op* op) { delete op; });
  }

  /// Sends `header` and `data` (one range of memory, or several small ones), which belong to `op`. Moves `op` to
  /// `in_flight` until it is sent, unless UCX is done with it at once or fails at once.
  ucs_status_t send(ucp_ep_h endpoint, message_kind kind, std::span<const std::byte> header,
                    std::span<const ucp_dt_iov_t> data, std::unique_ptr<wire_op>& op, wire_op_list& in_flight);

  /// Frees the requests of endpoints that have closed by now. True when none is left.
  bool all_closed();

  ucx_worker& worker;
  job_queue& jobs;
  spin_lock lock;
  bool needs_progress = false; ///< a send is under way: wake the progress thread after an inline send
  std::vector<std::shared_ptr<outbound>> to_flush; ///< by the progress thread, after this round
  std::unique_ptr<wire_op> spare_hot;              ///< the next hot message's memory
  std::unique_ptr<wire_op> spare_parcel;           ///< the next parcel's
  std::vector<void*> closing;                      ///< requests of endpoints that are not closed yet
  wire_op_list forgotten;                          ///< under way when their connection was closed
};

/// One end of a connection. Closes itself by force where it can: UCX then gives up every send that is under way. Within
/// a host UCX refuses that. And UCX 1.13 aborts the process when its own exchange with the peer's endpoint is cut
/// short, then or at a later connection (openucx/ucx#8175): what has not been open yet closes once it is, or has
/// failed.
class ucx_endpoint {
 public:
  ucx_endpoint() = default;
  /// `shared_memory`: both are on one host, where UCX has no failure detection of its own. `on_failure(context)` is
  /// called in the progress thread until the endpoint is closed. Errors: disconnected.
  static result<ucx_endpoint> make(wire& w, std::span<const std::byte> address, bool shared_memory,
                                   ucp_err_handler_cb_t on_failure, void* context);
  ucx_endpoint(ucx_endpoint&& from) noexcept { swap(from); }
  ucx_endpoint& operator=(ucx_endpoint&& from) noexcept {
    swap(from);
    return *this;
  }
  ~ucx_endpoint() { close(); }

  ucp_ep_h handle() const { return endpoint_; }
  void close();

 private:
  void swap(ucx_endpoint& other) noexcept {
    std::swap(endpoint_, other.endpoint_);
    std::swap(wire_, other.wire_);
    worker_.swap(other.worker_);
    std::swap(may_force_, other.may_force_);
    std::swap(first_flush_, other.first_flush_);
  }

  ucp_ep_h endpoint_ = nullptr;
  wire* wire_ = nullptr;
  std::shared_ptr<ucp_worker> worker_;
  bool may_force_ = false;
  void* first_flush_ = nullptr; ///< a request that is done when the way is open
};

} // namespace troupe::net
