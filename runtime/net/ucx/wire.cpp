#include "runtime/net/ucx/wire.hpp"

namespace troupe::net {

namespace {

void on_sent(void* request, ucs_status_t, void* op) {
  delete static_cast<wire_op*>(op);
  ucp_request_free(request);
}

} // namespace

ucs_status_t wire::send(ucp_ep_h endpoint, message_kind kind, std::span<const std::byte> header,
                        std::span<const ucp_dt_iov_t> data, std::unique_ptr<wire_op>& op, wire_op_list& in_flight) {
  ucp_request_param_t param; // all that the mask names; the rest is not read
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = &on_sent;
  param.user_data = op.get();
  const bool small = kind == message_kind::parcel || kind == message_kind::hot;
  param.flags = small || data.size() > 1 ? UCP_AM_SEND_FLAG_EAGER : 0;
  const void* buffer = data.empty() ? nullptr : data.front().buffer;
  std::size_t count = data.empty() ? 0 : data.front().length;
  if (data.size() > 1) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE;
    param.datatype = UCP_DATATYPE_IOV;
    buffer = data.data();
    count = data.size();
  }
  auto* const request =
      ucp_am_send_nbx(endpoint, static_cast<unsigned>(kind), header.data(), header.size(), buffer, count, &param);
  if (!UCS_PTR_IS_PTR(request)) return UCS_PTR_RAW_STATUS(request);
  in_flight.push_back(*op.release());
  needs_progress = true;
  return UCS_OK;
}

bool wire::all_closed() {
  std::erase_if(closing, [](void* request) {
    if (ucp_request_check_status(request) == UCS_INPROGRESS) return false;
    ucp_request_free(request);
    return true;
  });
  return closing.empty();
}

result<ucx_endpoint> ucx_endpoint::make(wire& w, std::span<const std::byte> address, bool shared_memory,
                                        ucp_err_handler_cb_t on_failure, void* context) {
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  // Mode PEER excludes what is fast within a host (UCX 1.13: at least copies between address spaces); there the tether
  // and the pings find a death.
  params.err_mode = shared_memory ? UCP_ERR_HANDLING_MODE_NONE : UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_failure;
  params.err_handler.arg = context;
  ucx_endpoint out;
  out.worker_ = w.worker.newest();
  const auto status = ucp_ep_create(out.worker_.get(), &params, &out.endpoint_);
  if (status != UCS_OK) return ucx_error("ucx: no way to the peer's worker", status);
  out.wire_ = &w;
  out.may_force_ = !shared_memory;
  const ucp_request_param_t plain{};
  auto* const request = ucp_ep_flush_nbx(out.endpoint_, &plain);
  if (UCS_PTR_IS_PTR(request)) out.first_flush_ = request;
  return out;
}

void ucx_endpoint::close() {
  if (!endpoint_) return;
  const bool opened = !first_flush_ || ucp_request_check_status(first_flush_) != UCS_INPROGRESS;
  if (first_flush_) ucp_request_free(std::exchange(first_flush_, nullptr));
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = may_force_ && opened ? UCP_EP_CLOSE_FLAG_FORCE : 0;
  auto* const request = ucp_ep_close_nbx(std::exchange(endpoint_, nullptr), &param);
  if (UCS_PTR_IS_PTR(request)) wire_->closing.push_back(request);
  worker_.reset();
}

} // namespace troupe::net
