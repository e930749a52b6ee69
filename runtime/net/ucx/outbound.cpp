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

ucp_dt_iov_t piece(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()}; // UCX only reads it
}

} // namespace

outgoing_frame::outgoing_frame(std::shared_ptr<outbound> via, stream_id stream, std::span<const std::byte> meta,
                               std::span<const segment> parts)
    : to(std::move(via)), header{stream.value, 0, static_cast<std::uint32_t>(meta.size())}, meta_bytes(meta.size()),
      data_bytes(meta.size()), segments(parts.begin(), parts.end()) {
  buffer.reserve(prefix + meta.size());
  buffer.resize(prefix);
  buffer.insert(buffer.end(), meta.begin(), meta.end());
  for (const auto& part : parts) data_bytes += part.size();
}

outgoing_frame::~outgoing_frame() {
  if (const auto from = announced_by.lock()) from->fetched(room_bytes());
}

void outgoing_frame::run(std::unique_ptr<job> self) {
  (void)self.release();
  std::unique_ptr<outgoing_frame> me(this);
  auto& queue = *to;
  queue.add(std::move(me));
}

struct outbound::hot_message final : wire_op {
  ~hot_message() override {
    if (const auto from = sender.lock()) --from->hot_in_flight_;
  }
  std::weak_ptr<outbound> sender; ///< while it is under way
  std::array<std::byte, sizeof(channel_header) + transport::hot_bytes_max> bytes;
};

struct outbound::parcel final : wire_op {
  std::vector<std::byte> bytes;
};

/// One message of a bulk frame; the frame goes when the last one has been sent.
struct outbound::bulk_part final : wire_op {
  explicit bulk_part(std::shared_ptr<outgoing_frame> of) : frame(std::move(of)) {}
  void take_back_segments() override { frame->segments.clear(); }
  std::shared_ptr<outgoing_frame> frame;
  std::array<std::byte, sizeof(channel_header)> head;
  boost::container::small_vector<ucp_dt_iov_t, 2> pieces; ///< that go together
};

void outbound::open(ucx_endpoint endpoint, std::uint32_t channel, std::uint64_t tag) {
  endpoint_ = std::move(endpoint);
  channel_ = channel;
  tag_ = tag;
}

void outbound::start() {
  started_ = true;
  for (const auto& message : std::exchange(hot_waiting_, {})) {
    std::uint32_t lane = 0;
    std::memcpy(&lane, message.data(), sizeof(lane));
    send_hot(lane, std::span(message).subspan(sizeof(lane)));
  }
  flush_soon();
}

void outbound::stop_sending() {
  started_ = false;
  closed_ = true;
  queue_.clear();
  hot_waiting_.clear();
}

void outbound::take_back_segments() {
  for (auto& op : in_flight_) op.take_back_segments();
}

void outbound::close() {
  stop_sending();
  endpoint_.close();
  wire_.forgotten.splice(wire_.forgotten.end(), in_flight_); // their callbacks still come, or the worker ends
}

bool outbound::reserve(std::uint64_t bytes) {
  const auto before = waiting_bytes_.fetch_add(bytes);
  if (before == 0 || before + bytes <= limits::peer_waiting_bytes_max) return true;
  waiting_bytes_.fetch_sub(bytes);
  return false;
}

void outbound::add(std::unique_ptr<outgoing_frame> frame) {
  if (closed_) return;
  frame->to.reset(); // or the queue would keep its owner alive
  queue_.push_back(std::move(frame));
  flush_soon();
}

void outbound::send_now(std::unique_ptr<outgoing_frame> frame) {
  if (!idle()) return add(std::move(frame));
  if (closed_) return;
  frame->to.reset();
  queue_.push_back(std::move(frame));
  flush();
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
      return;
    }
    if (!queue_.front()->small()) {
      if (!may_announce(queue_.front()->room_bytes())) return; // fetched() goes on
      send_bulk();
      continue;
    }
    const auto plan = plan_parcel();
    plan.frames == 1 ? send_single() : send_parcel(plan);
  }
}

std::unique_ptr<outgoing_frame> outbound::take_front() {
  auto frame = std::move(queue_.front());
  queue_.pop_front();
  credit_.take(frame->room_bytes());
  waiting_bytes_.fetch_sub(frame->room_bytes());
  frame->header.sequence = sequence_++;
  return frame;
}

channel_header outbound::header(std::uint32_t lane) {
  const auto back = back_->take();
  return {tag_, channel_, back.frames, back.bytes, lane, 0};
}

bool outbound::may_announce(std::uint64_t bytes) const {
  return fetched_bytes_ == 0 || fetched_bytes_ + bytes <= limits::peer_fetch_bytes_max;
}

void outbound::fetched(std::uint64_t bytes) {
  fetched_bytes_ -= bytes;
  if (!queue_.empty()) flush_soon();
}

/// As many of the first frames as one message takes and the receiver has room for.
outbound::parcel_plan outbound::plan_parcel() const {
  parcel_plan plan{0, sizeof(channel_header)};
  auto credit = credit_;
  for (const auto& frame : queue_) {
    const auto begin = padded(plan.bytes);
    const auto end = begin + sizeof(frame_header) + frame->meta_bytes;
    if (!frame->small() || end > parcel_bytes_max || !credit.fits(frame->room_bytes())) break;
    credit.take(frame->room_bytes());
    plan = {plan.frames + 1, end};
  }
  return plan;
}

void outbound::send_single() {
  auto frame = take_front();
  put(put(frame->buffer.data(), header()), frame->header);
  const auto whole = piece(frame->buffer);
  post(message_kind::parcel, {}, {&whole, 1}, std::move(frame));
}

void outbound::send_parcel(parcel_plan plan) {
  auto op = std::make_unique<parcel>();
  op->bytes.resize(plan.bytes);
  auto* const begin = op->bytes.data();
  auto* to = put(begin, header());
  for (std::size_t i = 0; i < plan.frames; ++i) {
    const auto frame = take_front();
    to = put(begin + padded(static_cast<std::size_t>(to - begin)), frame->header);
    to = std::copy_n(frame->buffer.data() + outgoing_frame::prefix, frame->meta_bytes, to);
  }
  const auto whole = piece(op->bytes);
  post(message_kind::parcel, {}, {&whole, 1}, std::move(op));
}

void outbound::send_bulk() {
  const std::shared_ptr<outgoing_frame> frame = take_front();
  const auto count = frame->segments.size();
  const auto fixed = sizeof(channel_header) + sizeof(bulk_header) + count * sizeof(std::uint64_t);
  const auto inline_max = std::min(announcement_bytes_max, wire_.worker.header_bytes_max());
  const bool in_data = fixed + frame->meta_bytes > inline_max;
  frame->announcement.resize(fixed + (in_data ? 0 : frame->meta_bytes));
  auto* to = put(frame->announcement.data(), header());
  to = put(to, bulk_header{frame->header, static_cast<std::uint32_t>(count), in_data, 0});
  for (const auto& part : frame->segments) to = put(to, std::uint64_t{part.size()});
  if (!in_data) std::copy_n(frame->buffer.data() + outgoing_frame::prefix, frame->meta_bytes, to);
  frame->announced_by = weak_from_this();
  fetched_bytes_ += frame->room_bytes();
  send_pieces(frame, in_data);
}

void outbound::send_pieces(const std::shared_ptr<outgoing_frame>& frame, bool meta_in_data) {
  boost::container::static_vector<ucp_dt_iov_t, pieces_max> pieces;
  if (meta_in_data) pieces.push_back(piece(std::span(frame->buffer).subspan(outgoing_frame::prefix)));
  for (const auto& part : frame->segments) pieces.push_back(piece(part.bytes()));
  piece_sizes sizes;
  for (const auto& one : pieces) sizes.push_back(one.length);
  const auto plan = plan_pieces(sizes);

  auto op = std::make_unique<bulk_part>(frame);
  auto& together = op->pieces;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (plan.message[i] == 0 && pieces[i].length > 0) together.push_back(pieces[i]);
  post(message_kind::bulk, frame->announcement, together, std::move(op));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (plan.message[i] == 0) continue;
    op = std::make_unique<bulk_part>(frame);
    put(op->head.data(), header(plan.message[i]));
    const auto& head = op->head;
    post(message_kind::piece, head, {&pieces[i], 1}, std::move(op));
  }
}

bool outbound::send_hot(std::uint32_t lane, std::span<const std::byte> bytes) {
  invariant(bytes.size() <= transport::hot_bytes_max, "hot bytes are few");
  if (closed_) return true;
  const bool own = lane >= transport::hot_lanes_max;
  if (!own && hot_waiting_.size() + hot_in_flight_ >= limits::peer_hot_waiting_max) return false;
  if (!own && !started_) {
    auto& waiting = hot_waiting_.emplace_back(sizeof(lane) + bytes.size());
    std::ranges::copy(bytes, put(waiting.data(), lane));
    return true;
  }
  auto op = std::move(wire_.spare_hot);
  if (!op) op = std::make_unique<hot_message>();
  auto& message = static_cast<hot_message&>(*op);
  auto* const end = std::ranges::copy(bytes, put(message.bytes.data(), header(lane))).out;
  const auto whole = piece({message.bytes.data(), end});
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
