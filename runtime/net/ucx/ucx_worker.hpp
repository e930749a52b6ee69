// A UCX context with its one worker, as an object: made, queried, armed, destroyed. One thread at a time.
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
  void abandon() { worker_ = nullptr, context_ = nullptr; }

  /// The list in force, as in UCX_TLS; empty: whatever UCX finds.
  const std::string& transports() const { return transports_; }
  ucp_worker_h handle() const { return worker_; }
  /// Where others' endpoints lead to.
  std::span<const std::byte> address() const { return address_; }
  /// What may travel in the header of an active message.
  std::size_t header_bytes_max() const { return header_bytes_max_; }
  /// Readable when there is something to progress, after arm().
  int event_fd() const { return event_fd_; }

  result<void> set_handler(unsigned id, ucp_am_recv_callback_t handler, void* context);
  bool progress() { return ucp_worker_progress(worker_) != 0; }
  /// False: there is something to progress already.
  bool arm() { return ucp_worker_arm(worker_) == UCS_OK; }

 private:
  ucx_worker() = default;
  result<void> open(const options& how);
  result<void> query();

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  std::string transports_;
  std::vector<std::byte> address_;
  std::size_t header_bytes_max_ = 0;
  int event_fd_ = -1;
};

} // namespace troupe::net
