#include "runtime/net/ucx/receiver.hpp"

#include "runtime/core/log.hpp"

#include <cstring>

namespace troupe::net {

namespace {

/// UCX delivers small messages at any address; those who read them may count on 16.
template <std::size_t BytesMax>
class aligned_view {
 public:
  explicit aligned_view(std::span<const std::byte> bytes) : bytes_(bytes) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 16 == 0 || bytes.size() > BytesMax) return;
    std::memcpy(copy_.data(), bytes.data(), bytes.size());
    bytes_ = std::span(copy_).first(bytes.size());
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
  alignas(16) std::array<std::byte, BytesMax> copy_; // not initialised: it is written or not read
};

std::span<const std::byte> bytes_of(const void* data, std::size_t size) {
  return {static_cast<const std::byte*>(data), size};
}

} // namespace

result<void> receiver::attach() {
  const auto set = [this](message_kind kind, ucp_am_recv_callback_t handler) {
    return net_.worker.set_handler(static_cast<unsigned>(kind), handler, this);
  };
  TROUPE_TRY(set(message_kind::parcel, &receiver::on_parcel));
  TROUPE_TRY(set(message_kind::bulk, &receiver::on_bulk));
  TROUPE_TRY(set(message_kind::piece, &receiver::on_piece));
  return set(message_kind::hot, &receiver::on_hot_bytes);
}

template <class Work>
ucs_status_t receiver::safely(Work&& work) noexcept {
  try {
    work();
  } catch (const std::exception& failed) {
    log::error("net: a message was lost: {}", failed.what());
  }
  return UCS_OK;
}

ucs_status_t receiver::on_parcel(void* self, const void*, std::size_t, void* data, std::size_t size,
                                 const recv_param*) {
  auto& me = *static_cast<receiver*>(self);
  return me.safely([&] { me.parcel(bytes_of(data, size)); });
}

ucs_status_t receiver::on_bulk(void* self, const void* head, std::size_t head_size, void* data, std::size_t size,
                               const recv_param* how) {
  auto& me = *static_cast<receiver*>(self);
  return me.safely([&] { me.bulk(bytes_of(head, head_size), me.offered(data, size, how)); });
}

ucs_status_t receiver::on_piece(void* self, const void* head, std::size_t head_size, void* data, std::size_t size,
                                const recv_param* how) {
  auto& me = *static_cast<receiver*>(self);
  return me.safely([&] { me.piece(bytes_of(head, head_size), me.offered(data, size, how)); });
}

inbound::offer receiver::offered(void* data, std::size_t size, const recv_param* how) const {
  return {net_.worker.delivering(), data, size, (how->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0};
}

ucs_status_t receiver::on_hot_bytes(void* self, const void*, std::size_t, void* data, std::size_t size,
                                    const recv_param*) {
  auto& me = *static_cast<receiver*>(self);
  return me.safely([&] { me.hot(bytes_of(data, size)); });
}

/// Takes the head off `message`, with what every message may carry: a sign of life, and room.
peer* receiver::sender_of(std::span<const std::byte>& message, std::uint8_t& lane) {
  const auto head = take_head(message);
  if (!head) return nullptr;
  lane = head->channel.lane;
  auto* const from = table_.at_channel(head->channel.channel, head->channel.tag);
  if (!from || from->failing) return nullptr;
  if (from->pulse) from->pulse->on_sign(now_);
  if (head->channel.room_follows != 0 && !from->out->room_back(head->back)) {
    connections_.fail_soon(*from, {errc::bad_input, from->uri + " gives back room that was never taken"});
    return nullptr;
  }
  return from;
}

void receiver::parcel(std::span<const std::byte> message) {
  std::uint8_t lane = 0;
  auto* const from = sender_of(message, lane);
  if (!from || message.size() > parcel_bytes_max) return;
  const aligned_view<parcel_bytes_max> frames(message);
  const auto done = from->in->on_parcel(frames.bytes());
  if (!done) connections_.fail_soon(*from, done.error());
}

void receiver::bulk(std::span<const std::byte> announcement, const inbound::offer& what) {
  std::uint8_t lane = 0;
  auto* const from = sender_of(announcement, lane);
  if (!from) return;
  const auto done = from->in->on_bulk(announcement, what);
  if (!done) connections_.fail_soon(*from, done.error());
}

void receiver::piece(std::span<const std::byte> head, const inbound::offer& what) {
  std::uint8_t lane = 0;
  auto* const from = sender_of(head, lane);
  if (!from) return;
  const auto done = from->in->on_piece(lane, what);
  if (!done) connections_.fail_soon(*from, done.error());
}

void receiver::hot(std::span<const std::byte> message) {
  std::uint8_t lane = 0;
  auto* const from = sender_of(message, lane);
  if (!from) return;
  if (lane >= transport::hot_lanes_max) return control(*from, static_cast<control_lane>(lane));
  const auto& handler = handlers_[lane];
  if (!handler || message.size() > transport::hot_bytes_max) return;
  handler(from->id, aligned_view<transport::hot_bytes_max>(message).bytes());
}

void receiver::control(peer& from, control_lane lane) {
  switch (lane) {
  case control_lane::ready: return connections_.on_ready(from);
  case control_lane::leaving: return connections_.on_leaving(from);
  case control_lane::room_wanted: return from.back->want();
  case control_lane::room: return; // the header was the message
  }
}

} // namespace troupe::net
