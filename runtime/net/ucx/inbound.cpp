#include "runtime/net/ucx/inbound.hpp"

#include <cstring>

namespace troupe::net {

namespace {

error broken(std::string how) { return {errc::bad_input, std::move(how)}; }

incoming_frame allocate(const bulk_view& view) {
  incoming_frame out;
  out.meta = view.meta_in_data ? segment::allocate(view.frame.meta_bytes) : segment::copy_of(view.meta);
  for (std::size_t i = view.meta_in_data ? 1 : 0; i < view.sizes.size(); ++i)
    out.segments.push_back(segment::allocate(view.sizes[i]));
  out.missing = view.plan.messages;
  return out;
}

/// Where piece `i` goes.
std::span<std::byte> memory_of(const incoming_frame& frame, const bulk_view& view, std::size_t i) {
  if (!view.meta_in_data) return frame.segments[i].writable();
  return i == 0 ? frame.meta.writable() : frame.segments[i - 1].writable();
}

/// Copies the small pieces that came with the bulk message itself.
void copy_pieces(const incoming_frame& frame, const bulk_view& view, const void* data) {
  const auto* from = static_cast<const std::byte*>(data);
  for (std::size_t i = 0; i < view.sizes.size(); ++i) {
    if (view.plan.message[i] != 0 || view.sizes[i] == 0) continue;
    std::memcpy(memory_of(frame, view, i).data(), from, view.sizes[i]);
    from += view.sizes[i];
  }
}

std::span<std::byte> only_piece(const incoming_frame& frame, const bulk_view& view) {
  for (std::size_t i = 0; i < view.sizes.size(); ++i)
    if (view.plan.message[i] == 0 && view.sizes[i] > 0) return memory_of(frame, view, i);
  return {};
}

} // namespace

result<receipt> inbound::admit(const frame_header& header, std::uint64_t bytes) {
  if (announced_) return broken("a frame came before all pieces of the one before");
  if (header.sequence != sequence_)
    return broken("frame " + std::to_string(header.sequence) + " came where frame " + std::to_string(sequence_) +
                  " was due");
  ++sequence_;
  if (!back_->admit(bytes)) return broken("the peer sends more than there is room for");
  return receipt(back_, bytes);
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
  if (!reader.complete()) return broken("a parcel ends in the middle of a frame");
  return {};
}

result<void> inbound::on_bulk(std::span<const std::byte> announcement, const offer& what) {
  TROUPE_ASSIGN(const auto view, read_bulk(announcement, what.size));
  if (what.to_fetch && view.plan.bulk_pieces != 1) return broken("several pieces cannot be fetched at once");
  TROUPE_ASSIGN(auto room, admit(view.frame, view.frame_bytes()));
  auto frame = allocate(view);
  frame.room = std::move(room);
  const stream_id stream{view.frame.stream};
  if (!what.to_fetch) {
    copy_pieces(frame, view, what.data);
    --frame.missing;
  }
  if (frame.missing == 0) {
    order_.blocked(stream) ? order_.hold(stream, std::move(frame)) : hand_over(frame);
    return {};
  }
  auto& place = order_.fetch(stream, std::move(frame));
  if (view.plan.messages > 1) {
    announced_.emplace(announced{stream, &place, {}, 0});
    for (std::size_t i = 0; i < view.sizes.size(); ++i)
      if (view.plan.message[i] != 0) announced_->pieces.push_back(memory_of(place.frame, view, i));
  }
  if (what.to_fetch) take(stream, place, only_piece(place.frame, view), what);
  return {};
}

result<void> inbound::on_piece(std::uint32_t message, const offer& what) {
  if (!announced_) return broken("a piece came that was not announced");
  auto& due = *announced_;
  const auto to = due.pieces[due.next];
  if (message != ++due.next || to.size() != what.size) return broken("another piece came than was announced");
  const auto stream = due.stream;
  auto& place = *due.place;
  if (due.next == due.pieces.size()) announced_.reset();
  take(stream, place, to, what);
  return {};
}

void inbound::take(stream_id stream, stream_order<incoming_frame>::held& place, std::span<std::byte> to,
                   const offer& what) {
  if (!what.to_fetch) {
    std::memcpy(to.data(), what.data, what.size);
    return message_done(stream, place);
  }
  auto doing = std::make_unique<fetch>();
  doing->to = shared_from_this();
  doing->stream = stream;
  doing->place = &place;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &inbound::on_fetched;
  auto* const started = doing.release();
  param.user_data = started;
  fetches_.push_back(*started); // before: UCX may call back from within when the peer has just been killed
  auto* const request = ucp_am_recv_data_nbx(what.worker, what.data, to.data(), to.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) finish(std::unique_ptr<fetch>(started), UCS_PTR_RAW_STATUS(request));
}

void inbound::on_fetched(void* request, ucs_status_t status, std::size_t, void* fetch_done) {
  std::unique_ptr<fetch> done(static_cast<fetch*>(fetch_done));
  const auto keep = done->to;
  keep->finish(std::move(done), status);
  ucp_request_free(request);
}

void inbound::finish(std::unique_ptr<fetch> done, ucs_status_t status) {
  if (closed_) return;
  if (status != UCS_OK) return on_failure_(ucx_error("ucx: fetching a segment failed", status));
  message_done(done->stream, *done->place);
}

void inbound::close() {
  closed_ = true;
  order_.for_each([](const incoming_frame& kept) {
    kept.meta.discard();
    for (const auto& part : kept.segments) part.discard();
  });
}

void inbound::message_done(stream_id stream, stream_order<incoming_frame>::held& place) {
  if (--place.frame.missing > 0) return;
  order_.fetched(stream, place, [this](incoming_frame& frame) { hand_over(frame); });
}

void inbound::hand_over(incoming_frame& frame) {
  if (closed_) return;
  listener_.on_frame(from_, frame.meta.bytes(), {frame.segments.data(), frame.segments.size()}, std::move(frame.room));
}

} // namespace troupe::net
