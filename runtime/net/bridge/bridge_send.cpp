// From a message to a frame; in the sender's thread.
#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/bridge/caf_error.hpp"
#include "runtime/net/bridge/segment_wire.hpp"

#include <caf/binary_serializer.hpp>
#include <caf/detail/sync_request_bouncer.hpp>

#include <thread>
#include <utility>

namespace troupe::net {

namespace {

/// Buffers that keep their memory from message to message of a thread.
class outgoing {
 public:
  outgoing() : meta(std::exchange(kept(), {})) { meta.clear(); }
  outgoing(const outgoing&) = delete;
  outgoing& operator=(const outgoing&) = delete;
  ~outgoing() {
    if (meta.capacity() <= kept_bytes_max) kept() = std::move(meta);
  }

  frame_parts parts() { return {meta, segments}; }

  std::vector<char> meta;
  std::vector<segment> segments;

 private:
  static constexpr std::size_t kept_bytes_max = 64u << 10;
  static std::vector<char>& kept() {
    static thread_local std::vector<char> room;
    return room;
  }
};

std::span<const std::byte> bytes_of(const std::vector<char>& meta) { return std::as_bytes(std::span(meta)); }

stream_id stream_of(std::uint64_t from, std::uint64_t to) { return stream_id(from * 0x9e3779b97f4a7c15u + to); }

constexpr stream_id control_stream{};

} // namespace

void bridge::send_message(const neighbour_ptr& to, caf::actor_id receiver, caf::mailbox_element_ptr what) {
  const auto& sender = what->sender;
  const auto id = what->mid;
  message_head head{.to = receiver, .id = id.integer_value()};
  outgoing frame;
  if (const auto written = write_message(head, *what, frame.parts()); !written)
    return not_sent(to, head, sender, written.error());

  const bool waits = id.is_request() && sender && sender->node() == system_.node();
  if (waits && !open_.add(sender, id, to->peer))
    return not_sent(to, head, sender, {errc::overloaded, "too many open requests"});
  const auto stream = stream_of(sender ? sender->id() : 0, receiver);
  const auto sent = to->lost ? result<void>(error{errc::disconnected, to->uri + " is gone"})
                             : send_patiently(*to, stream, frame.parts(), !id.is_request());
  if (sent) return;
  if (waits) open_.remove(sender->id(), id);
  not_sent(to, head, sender, sent.error());
}

result<void> bridge::write_message(message_head head, caf::mailbox_element& what, frame_parts to) {
  put_head(to.meta, head);
  caf::binary_serializer sink(&unit_, to.meta);
  if (what.sender && what.sender->node() == system_.node()) {
    register_sender(what.sender);
    head.from = what.sender->id();
  } else if (what.sender) {
    head.foreign_sender = true;
    if (auto failed = sink(what.sender)) return error{errc::bug, system_.render(failed)};
  }
  if (!what.stages.empty()) {
    head.staged = true;
    if (auto failed = sink(what.stages)) return error{errc::bug, system_.render(failed)};
  }
  const auto& content = std::as_const(what).content();
  const auto* const codec = head.foreign_sender || head.staged ? nullptr : codec_for(content, head.codec);
  if (codec) {
    codec->encode(content, to);
  } else {
    const segments_beside scope(to.segments);
    TROUPE_TRY(write_values(content, to.meta));
  }
  std::memcpy(to.meta.data(), &head, sizeof head);
  return {};
}

result<void> bridge::write_values(const caf::type_erased_tuple& content, std::vector<char>& meta) {
  caf::binary_serializer sink(&unit_, meta);
  auto count = static_cast<std::uint16_t>(content.size());
  if (auto failed = sink(count)) return error{errc::bug, system_.render(failed)};
  for (std::size_t i = 0; i < content.size(); ++i) {
    auto number = types_->find(content.type(i));
    if (!number)
      return error{errc::unsupported, std::string("message type ") + content.type(i).second->name() +
                                          " is not registered with the actor_system_config"};
    if (auto failed = sink(*number)) return error{errc::bug, system_.render(failed)};
    if (auto failed = content.save(i, sink)) return error{errc::bug, system_.render(failed)};
  }
  return {};
}

/// There are a handful of codecs, and mostly it is the one of the message before.
const message_codec* bridge::codec_for(const caf::type_erased_tuple& content, std::uint16_t& number) const {
  const auto fits = [&](const message_codec& codec) {
    if (codec.types.size() != content.size()) return false;
    for (std::size_t k = 0; k < codec.types.size(); ++k) {
      const auto type = content.type(k);
      if (type.first != codec.types[k].first || (type.first == 0 && *type.second != *codec.types[k].second))
        return false;
    }
    return true;
  };
  const auto last = last_codec_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < codecs_.size(); ++i) {
    const auto at = (last + i) % codecs_.size();
    if (!fits(codecs_[at])) continue;
    if (at != last) last_codec_.store(at, std::memory_order_relaxed);
    number = static_cast<std::uint16_t>(at + 1);
    return &codecs_[at];
  }
  return nullptr;
}

/// A peer that does not keep up makes a sender wait a while; never the progress thread, which would stop the peer too.
result<void> bridge::send_patiently(const neighbour& to, stream_id stream, frame_parts parts, bool wait) {
  auto sent = wire_->send(to.peer, stream, bytes_of(parts.meta), parts.segments);
  if (sent || sent.error().code != errc::overloaded || !wait || wire_->in_progress_thread()) return sent;
  const auto deadline = clock::now() + limits::send_patience;
  while (!sent && sent.error().code == errc::overloaded && clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    sent = wire_->send(to.peer, stream, bytes_of(parts.meta), parts.segments);
  }
  return sent;
}

/// Nobody is left waiting: a requester is told at once, and so is he whose answer is lost here.
void bridge::not_sent(const neighbour_ptr& to, const message_head& head, const caf::strong_actor_ptr& sender,
                      const error& why) {
  const caf::message_id id(head.id);
  if (why.code == errc::disconnected) {
    lose(to, why.message);
    if (id.is_request() && sender)
      caf::detail::sync_request_bouncer{caf::exit_reason::remote_link_unreachable}(sender, id);
    return;
  }
  if (why.code == errc::overloaded) ++counters_.overloaded;
  log::error("a message to {} is lost: {}", to->uri, why.message);
  if (id.is_request() && sender) return refuse(sender, id, why);
  if (!id.is_response()) return;
  const auto answer = caf::make_mailbox_element(sender, id, {}, to_caf_error(why));
  outgoing frame;
  if (write_message({.to = head.to, .id = head.id}, *answer, frame.parts())) send_owed(to, std::move(frame.meta));
}

void bridge::refuse(const caf::strong_actor_ptr& requester, caf::message_id id, const error& why) {
  requester->enqueue(nullptr, id.response_id(), caf::make_message(to_caf_error(why)),
                     wire_->in_progress_thread() ? &unit_ : nullptr);
}

/// So that its answer finds it. Looks before it puts: put() takes an exclusive lock.
void bridge::register_sender(const caf::strong_actor_ptr& sender) {
  static thread_local std::pair<std::uint64_t, caf::actor_id> last;
  if (last == std::pair(serial_, sender->id())) return;
  if (!system_.registry().get(sender->id())) system_.registry().put(sender->id(), sender);
  last = {serial_, sender->id()};
}

// -- control frames ---------------------------------------------------------------------------------------------------

void bridge::send_control(const neighbour_ptr& to, const message_head& head) {
  std::vector<char> meta;
  put_head(meta, head);
  send_owed(to, std::move(meta));
}

/// These are never lost while the peer lives.
void bridge::send_owed(const neighbour_ptr& to, std::vector<char> meta) {
  if (to->lost || stopped_) return;
  const auto sent = wire_->send(to->peer, control_stream, bytes_of(meta));
  if (sent) return;
  if (sent.error().code == errc::disconnected) return lose(to, sent.error().message);
  const std::lock_guard lock(to->owed_mutex);
  if (to->owed.size() == limits::owed_frames_max) return log::error("{} is owed too much", to->uri);
  to->owed.push_back(std::move(meta));
  if (to->owed.size() == 1) wire_->post_at(clock::now() + limits::owed_retry_delay, [this, to] { pay_owed(to); });
}

void bridge::pay_owed(const neighbour_ptr& to) {
  const std::lock_guard lock(to->owed_mutex);
  if (to->lost) to->owed.clear();
  while (!to->owed.empty() && wire_->send(to->peer, control_stream, bytes_of(to->owed.front()))) to->owed.pop_front();
  if (!to->owed.empty()) wire_->post_at(clock::now() + limits::owed_retry_delay, [this, to] { pay_owed(to); });
}

void bridge::send_link(message_kind kind, const neighbour_ptr& to, caf::strong_actor_ptr from, caf::actor_id receiver) {
  wire_->post([this, kind, to, from = std::move(from), receiver] {
    system_.registry().put(from->id(), from);
    send_control(to, {.kind = kind, .from = from->id(), .to = receiver});
  });
}

void bridge::send_ended(const neighbour_ptr& to, caf::actor_id actor, caf::error reason) {
  std::vector<char> meta;
  put_head(meta, {.kind = message_kind::ended, .from = actor});
  caf::binary_serializer sink(&unit_, meta);
  if (auto failed = sink(reason)) meta.resize(sizeof(message_head));
  send_owed(to, std::move(meta));
}

} // namespace troupe::net
