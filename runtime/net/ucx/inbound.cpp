#include "runtime/net/ucx/inbound.hpp"

#include <cstring>

namespace troupe::net {

namespace {

/// The pieces of memory that the data of a frame goes into, in its order.
boost::container::small_vector<std::span<std::byte>, 3> memory_of(const incoming_frame& frame, bool meta_in_data) {
  boost::container::small_vector<std::span<std::byte>, 3> out;
  if (meta_in_data && !frame.meta.empty()) out.push_back(frame.meta.writable());
  for (const auto& part : frame.segments)
    if (!part.empty()) out.push_back(part.writable());
  return out;
}

incoming_frame allocate(const bulk_view& view) {
  incoming_frame out;
  out.meta = view.meta_in_data ? segment::allocate(view.frame.meta_bytes) : segment::copy_of(view.meta);
  for (std::size_t i = 0; i < view.segment_count; ++i) out.segments.push_back(segment::allocate(view.sizes[i]));
  return out;
}

} // namespace

result<receipt> inbound::admit(const frame_header& header, std::uint64_t bytes) {
  if (header.sequence != sequence_)
    return error{errc::bad_input, "frame " + std::to_string(header.sequence) + " came where frame " +
                                      std::to_string(sequence_) + " was due"};
  ++sequence_;
  auto room = back_->admit(bytes);
  if (!room) return error{errc::bad_input, "the peer sends more than it has room for"};
  return receipt(std::move(room));
}

result<void> inbound::on_parcel(std::span<const std::byte> frames) {
  parcel_reader reader(frames);
  while (const auto frame = reader.next()) {
    TROUPE_ASSIGN(auto room, admit(frame->header, frame->meta.size()));
    const stream_id stream{frame->header.stream};
    if (order_.blocked(stream))
      order_.hold(stream, {segment::copy_of(frame->meta), {}, std::move(room)});
    else
      listener_.on_frame(from_, frame->meta, {}, std::move(room));
  }
  if (!reader.complete()) return error{errc::bad_input, "a parcel ends in the middle of a frame"};
  return {};
}

result<void> inbound::on_bulk(std::span<const std::byte> announcement, const offer& what) {
  TROUPE_ASSIGN(const auto view, read_bulk(announcement, what.size));
  TROUPE_ASSIGN(auto room,
                admit(view.frame, view.frame.meta_bytes + what.size - (view.meta_in_data ? view.frame.meta_bytes : 0)));
  auto frame = allocate(view);
  frame.room = std::move(room);
  const stream_id stream{view.frame.stream};
  if (what.to_fetch && what.size > 0) return start_fetch(stream, std::move(frame), view.meta_in_data, what);

  const auto* from = static_cast<const std::byte*>(what.data);
  for (const auto to : memory_of(frame, view.meta_in_data)) {
    std::memcpy(to.data(), from, to.size());
    from += to.size();
  }
  if (order_.blocked(stream))
    order_.hold(stream, std::move(frame));
  else
    hand_over(frame);
  return {};
}

result<void> inbound::start_fetch(stream_id stream, incoming_frame frame, bool meta_in_data, const offer& what) {
  auto doing = std::make_unique<fetch>();
  doing->to = shared_from_this();
  doing->stream = stream;
  doing->place = &order_.fetch(stream, std::move(frame));
  for (const auto to : memory_of(doing->place->frame, meta_in_data)) doing->pieces.push_back({to.data(), to.size()});

  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &inbound::on_fetched;
  param.user_data = doing.get();
  void* buffer = doing->pieces.front().buffer;
  std::size_t count = doing->pieces.front().length;
  if (doing->pieces.size() > 1) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE;
    param.datatype = UCP_DATATYPE_IOV;
    buffer = doing->pieces.data();
    count = doing->pieces.size();
  }
  auto* const request = ucp_am_recv_data_nbx(what.worker, what.data, buffer, count, &param);
  if (UCS_PTR_IS_PTR(request))
    fetches_.push_back(*doing.release());
  else
    finish(std::move(doing), UCS_PTR_RAW_STATUS(request));
  return {};
}

void inbound::on_fetched(void* request, ucs_status_t status, std::size_t, void* fetch_done) {
  std::unique_ptr<fetch> done(static_cast<fetch*>(fetch_done));
  auto& to = *done->to;
  const auto keep = done->to;
  to.finish(std::move(done), status);
  ucp_request_free(request);
}

void inbound::finish(std::unique_ptr<fetch> done, ucs_status_t status) {
  if (closed_) return;
  if (status != UCS_OK) return on_failure_(ucx_error("ucx: fetching a segment failed", status));
  order_.fetched(done->stream, *done->place, [this](incoming_frame& frame) { hand_over(frame); });
}

void inbound::hand_over(incoming_frame& frame) {
  if (closed_) return;
  listener_.on_frame(from_, frame.meta.bytes(), {frame.segments.data(), frame.segments.size()}, std::move(frame.room));
}

} // namespace troupe::net
