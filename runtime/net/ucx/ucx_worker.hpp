// A UCX context with its worker, as an object: made, queried, armed, destroyed. One thread at a time.
//
// A worker may be renewed. UCX 1.13 numbers the connections between two workers on both sides; once an attempt was cut
// short, the numbers differ, and messages of later connections get lost. A new worker starts to count anew; the old
// ones go on with the endpoints that they have.
#pragma once

#include "runtime/core/result.hpp"

#include <ucp/api/ucp.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace troupe::net {

/// "why: UCX's words" as an error of class disconnected.
error ucx_error(const std::string& what, ucs_status_t status);

class ucx_worker {
 public:
  struct options {
    std::string transports;  ///< UCX_TLS unless the environment says otherwise; empty: UCX chooses
    std::string net_devices; ///< UCX_NET_DEVICES likewise
  };

  /// Errors: unsupported when UCX finds no transport or refuses an option.
  static result<std::unique_ptr<ucx_worker>> make(const options& how);
  ucx_worker(const ucx_worker&) = delete;
  ucx_worker& operator=(const ucx_worker&) = delete;
  /// Requests that are still open are forgotten without their callbacks.
  ~ucx_worker();
  /// UCX 1.13 cannot destroy a worker with an endpoint that is still closing (its peer died in the middle of it): such
  /// a worker is left to the end of the process.
  void abandon();

  /// The list in force, as in UCX_TLS; empty: whatever UCX finds.
  const std::string& transports() const { return transports_; }
  /// For new endpoints: keep a copy as long as there is one.
  const std::shared_ptr<ucp_worker>& newest() const { return newest_; }
  /// The one whose callbacks are running.
  ucp_worker_h delivering() const { return delivering_; }
  /// Puts a new worker, with the same handlers, into the place of the newest. False when that cannot be: UCX refuses,
  /// or limits::retired_workers_max are still in use.
  bool renew();
  /// Destroys old workers without endpoints. Not while a request of ours is open on any: UCX 1.13 aborts.
  void drop_unused();
  /// Where others' endpoints lead to.
  std::span<const std::byte> address() const { return address_; }
  /// What may travel in the header of an active message.
  std::size_t header_bytes_max() const { return header_bytes_max_; }
  /// Readable when there is something to progress, after arm().
  int event_fd() const { return event_fd_; }

  result<void> set_handler(unsigned id, ucp_am_recv_callback_t handler, void* context);
  bool progress() {
    bool worked = progress(newest_);
    for (const auto& old : retired_) worked |= progress(old);
    return worked;
  }
  /// False: there is something to progress already.
  bool arm();

 private:
  struct handler {
    unsigned id;
    ucp_am_recv_callback_t run;
    void* context;
  };

  ucx_worker() = default;
  result<void> open(const options& how);
  result<void> add_worker();
  result<void> query();
  result<void> tell(const handler& what);
  bool progress(const std::shared_ptr<ucp_worker>& one) {
    delivering_ = one.get();
    return ucp_worker_progress(one.get()) != 0;
  }

  std::shared_ptr<ucp_context> context_;
  std::shared_ptr<ucp_worker> newest_;
  std::vector<std::shared_ptr<ucp_worker>> retired_;
  ucp_worker_h delivering_ = nullptr;
  std::vector<handler> handlers_;
  std::string transports_;
  std::vector<std::byte> address_;
  std::size_t header_bytes_max_ = 0;
  int event_fd_ = -1; ///< an epoll set of the workers' own
};

} // namespace troupe::net
