#include "runtime/net/ucx/outbound.hpp"

#include "runtime/core/invariant.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace troupe::net {

namespace {

/// Meta up to about this size travels with the announcement; UCX may allow less.
constexpr std::size_t announcement_bytes_max = 2048;

template <class T>
std::byte* put(std::byte* to, const T& value) {
  std::memcpy(to, &value, sizeof(value));
  return to + sizeof(value);
}

/// GCC 12 copies ranges of std::byte one by one.
std::byte* put_bytes(std::byte* to, std::span<const std::byte> bytes) {
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return to + bytes.size();
}

ucp_dt_iov_t piece(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()}; // UCX only reads it
}

} // namespace

outgoing_frame::outgoing_frame(std::shared_ptr<outbound> via, stream_id to_stream, std::span<const std::byte> bytes,
                               std::span<const segment> parts)
    : to(std::move(via)), stream(to_stream), meta(bytes.begin(), bytes.end()), data_bytes(bytes.size()),
      segments(parts.begin(), parts.end()) {
  for (const auto& part : parts) data_bytes += part.size();
}

outgoing_frame::~outgoing_frame() {
  if (const auto from = announced_by.lock()) from->fetched(room_bytes());
}

void outgoing_frame::run(std::unique_ptr<job> self) {
  (void)self.release();
  std::unique_ptr<outgoing_frame> me(this);
  const auto way = to;
  way->add(std::move(me));
  way->flush_soon();
}

struct outbound::hot_message final : wire_op {
  ~hot_message() override {
    if (const auto from = sender.lock()) --from->hot_in_flight_;
  }
  std::weak_ptr<outbound> sender; ///< while it is under way
  std::array<std::byte, head_bytes_max + transport::hot_bytes_max> bytes;
};

struct outbound::parcel final : wire_op {
  std::size_t end = head_bytes_max; ///< of what has been written
  alignas(16) std::array<std::byte, parcel_bytes_max> bytes;
};

/// One message of a bulk frame; the frame goes when the last one has been sent.
struct outbound::bulk_part final : wire_op {
  explicit bulk_part(std::shared_ptr<outgoing_frame> of) : frame(std::move(of)) {}
  void take_back_segments() override { frame->segments.clear(); }
  std::shared_ptr<outgoing_frame> frame;
  std::array<std::byte, head_bytes_max> head;
  boost::container::small_vector<ucp_dt_iov_t, 2> pieces; ///< that go together
};

outbound::outbound(wire& w, std::shared_ptr<returned_room> back, std::function<void(const error&)> on_failure)
    : wire_(w), back_(std::move(back)), on_failure_(std::move(on_failure)) {}

outbound::~outbound() = default;

void outbound::open(ucx_endpoint endpoint, std::uint32_t channel, std::uint64_t tag) {
  endpoint_ = std::move(endpoint);
  channel_ = channel;
  tag_ = tag;
}

void outbound::start() {
  started_ = true;
  for (const auto& message : std::exchange(hot_waiting_, {})) {
    send_hot(static_cast<std::uint8_t>(message.front()), std::span(message).subspan(1));
  }
  flush_soon();
}

void outbound::stop_sending() {
  started_ = false;
  closed_ = true;
  parcel_.reset();
  queue_.clear();
  hot_waiting_.clear();
}

void outbound::take_back_segments() {
  for (auto& op : in_flight_) op.take_back_segments();
  for (auto& op : wire_.forgotten)
    if (op.forgotten_by == this) op.take_back_segments();
}

bool outbound::close() {
  stop_sending();
  endpoint_.close();
  if (in_flight_.empty()) return false;
  for (auto& op : in_flight_) op.forgotten_by = this;
  wire_.forgotten.splice(wire_.forgotten.end(), in_flight_); // their callbacks still come, or the worker ends
  return true;
}

bool outbound::reserve(std::uint64_t bytes) {
  const auto before = waiting_bytes_.fetch_add(bytes);
  if (before == 0 || before + bytes <= limits::peer_waiting_bytes_max) return true;
  waiting_bytes_.fetch_sub(bytes);
  return false;
}

bool outbound::add_small(stream_id stream, std::span<const std::byte> meta) {
  if (!started_ || !queue_.empty() || !fits_parcel(meta.size()) || !credit_.fits(meta.size())) return false;
  append(stream, meta);
  return true;
}

void outbound::add(std::unique_ptr<outgoing_frame> frame) {
  if (closed_) return;
  frame->to.reset(); // or the queue would keep its owner alive
  queue_.push_back(std::move(frame));
}

void outbound::flush_soon() {
  if (std::exchange(flush_planned_, true)) return;
  wire_.to_flush.push_back(shared_from_this());
}

void outbound::flush() {
  flush_planned_ = false;
  while (started_ && !queue_.empty()) {
    if (!credit_.fits(queue_.front()->room_bytes())) {
      if (!std::exchange(asked_for_room_, true)) send_control(control_lane::room_wanted);
      break;
    }
    if (queue_.front()->small()) {
      const auto frame = take_front();
      append(frame->stream, frame->meta);
    } else {
      if (!may_announce(queue_.front()->room_bytes())) break; // fetched() goes on
      send_parcel();
      send_bulk();
    }
  }
  send_parcel();
}

std::unique_ptr<outgoing_frame> outbound::take_front() {
  auto frame = std::move(queue_.front());
  queue_.pop_front();
  waiting_bytes_.fetch_sub(frame->room_bytes());
  return frame;
}

frame_header outbound::next_header(stream_id stream, std::size_t meta_bytes) {
  return {stream.value, sequence_++, static_cast<std::uint32_t>(meta_bytes)};
}

std::byte* outbound::put_head(std::byte* data, std::uint8_t lane) {
  const auto back = lane == static_cast<std::uint8_t>(control_lane::room) ? back_->take() : back_->take_much();
  const bool any = back.frames > 0;
  auto* const begin = data - sizeof(channel_header) - (any ? sizeof(room_header) : 0);
  auto* const behind = put(begin, channel_header{tag_, channel_, lane, any, 0});
  if (any) put(behind, room_header{back.bytes, back.frames, 0});
  return begin;
}

bool outbound::may_announce(std::uint64_t bytes) const {
  return fetched_bytes_ == 0 || fetched_bytes_ + bytes <= limits::peer_fetch_bytes_max;
}

void outbound::fetched(std::uint64_t bytes) {
  fetched_bytes_ -= bytes;
  if (!queue_.empty()) flush_soon();
}

void outbound::append(stream_id stream, std::span<const std::byte> meta) {
  if (parcel_ && padded(parcel_->end) + sizeof(frame_header) + meta.size() > parcel_bytes_max) send_parcel();
  if (!parcel_) {
    auto spare = std::move(wire_.spare_parcel);
    parcel_.reset(spare ? static_cast<parcel*>(spare.release()) : new parcel);
    parcel_->end = head_bytes_max;
  }
  credit_.take(meta.size());
  auto* const begin = parcel_->bytes.data();
  auto* const to = begin + padded(parcel_->end);
  std::memset(begin + parcel_->end, 0, static_cast<std::size_t>(to - begin) - parcel_->end);
  auto* const end = put_bytes(put(to, next_header(stream, meta.size())), meta);
  parcel_->end = static_cast<std::size_t>(end - begin);
}

void outbound::send_parcel() {
  if (!parcel_) return;
  auto* const bytes = parcel_->bytes.data();
  const auto whole = piece({put_head(bytes + head_bytes_max), bytes + parcel_->end});
  if (auto op = post(message_kind::parcel, {}, {&whole, 1}, std::move(parcel_))) wire_.spare_parcel = std::move(op);
}

void outbound::send_bulk() {
  const std::shared_ptr<outgoing_frame> frame = take_front();
  const auto count = frame->segments.size();
  const auto fixed = head_bytes_max + sizeof(bulk_header) + count * sizeof(std::uint64_t);
  const auto inline_max = std::min(announcement_bytes_max, wire_.worker.header_bytes_max());
  const bool in_data = fixed + frame->meta.size() > inline_max;
  credit_.take(frame->room_bytes());
  frame->announcement.resize(fixed + (in_data ? 0 : frame->meta.size()));
  auto* const begin = frame->announcement.data() + head_bytes_max;
  auto* to = put(begin, bulk_header{next_header(frame->stream, frame->meta.size()), static_cast<std::uint32_t>(count),
                                    in_data, 0});
  for (const auto& part : frame->segments) to = put(to, std::uint64_t{part.size()});
  if (!in_data) put_bytes(to, frame->meta);
  frame->announced_by = weak_from_this();
  fetched_bytes_ += frame->room_bytes();
  send_pieces(frame, in_data);
}

void outbound::send_pieces(const std::shared_ptr<outgoing_frame>& frame, bool meta_in_data) {
  boost::container::static_vector<ucp_dt_iov_t, pieces_max> pieces;
  if (meta_in_data) pieces.push_back(piece(frame->meta));
  for (const auto& part : frame->segments) pieces.push_back(piece(part.bytes()));
  piece_sizes sizes;
  for (const auto& one : pieces) sizes.push_back(one.length);
  const auto plan = plan_pieces(sizes);

  auto op = std::make_unique<bulk_part>(frame);
  auto& together = op->pieces;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (plan.message[i] == 0 && pieces[i].length > 0) together.push_back(pieces[i]);
  auto& announcement = frame->announcement;
  const std::span head(put_head(announcement.data() + head_bytes_max), announcement.data() + announcement.size());
  post(message_kind::bulk, head, together, std::move(op));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (plan.message[i] == 0) continue;
    op = std::make_unique<bulk_part>(frame);
    auto* const end = op->head.data() + op->head.size();
    const std::span of_piece(put_head(end, plan.message[i]), end);
    post(message_kind::piece, of_piece, {&pieces[i], 1}, std::move(op));
  }
}

bool outbound::send_hot(std::uint8_t lane, std::span<const std::byte> bytes) {
  invariant(bytes.size() <= transport::hot_bytes_max, "hot bytes are few");
  if (closed_) return true;
  const bool own = lane >= transport::hot_lanes_max;
  if (!own && hot_waiting_.size() + hot_in_flight_ >= limits::peer_hot_waiting_max) return false;
  if (!own && !started_) {
    auto& waiting = hot_waiting_.emplace_back(1 + bytes.size());
    put_bytes(put(waiting.data(), lane), bytes);
    return true;
  }
  auto op = std::move(wire_.spare_hot);
  if (!op) op = std::make_unique<hot_message>();
  auto& message = static_cast<hot_message&>(*op);
  auto* const data = message.bytes.data() + head_bytes_max;
  auto* const end = put_bytes(data, bytes);
  const auto whole = piece({put_head(data, lane), end});
  op = post(message_kind::hot, {}, {&whole, 1}, std::move(op));
  if (op) {
    wire_.spare_hot = std::move(op);
  } else {
    message.sender = weak_from_this();
    ++hot_in_flight_;
  }
  return true;
}

std::unique_ptr<wire_op> outbound::post(message_kind kind, std::span<const std::byte> head,
                                        std::span<const ucp_dt_iov_t> data, std::unique_ptr<wire_op> op) {
  const auto status = wire_.send(endpoint_.handle(), kind, head, data, op, in_flight_);
  if (status != UCS_OK) on_failure_(ucx_error("ucx: sending failed", status));
  return op;
}

void outbound::return_room() {
  const spin_hold hold(wire_.lock);
  if (back_->any()) send_control(control_lane::room);
}

bool outbound::room_back(room back) {
  if (!credit_.give_back(back)) return false;
  asked_for_room_ = false;
  if (!queue_.empty()) flush_soon();
  return true;
}

} // namespace troupe::net
