// From a frame to a mailbox; in the progress thread. Whatever a peer sends, this process goes on.
#include "runtime/core/log.hpp"
#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/bridge/caf_error.hpp"
#include "runtime/net/bridge/segment_wire.hpp"

#include <caf/binary_serializer.hpp>
#include <caf/detail/dynamic_message_data.hpp>
#include <caf/detail/sync_request_bouncer.hpp>

#include <utility>

namespace troupe::net {

namespace {

caf::binary_deserializer reader_of(caf::execution_unit* unit, std::span<const std::byte> bytes) {
  return {unit, reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace

void bridge::on_frame(peer_id peer, std::span<const std::byte> meta, std::span<segment> segments, receipt room) {
  const auto& from = connected(peer);
  if (!from) return; // given up by us, not yet by the transport
  ran_caf_ = true;
  try {
    receive(from, meta, segments, std::move(room));
  } catch (const std::exception& e) { // of CAF's deserializers and of allocation: nothing may leave a callback
    ++counters_.refused;
    log::error("a frame of {} is refused: {}", from->uri, e.what());
  }
}

/// Most frames come from where the one before came from, and go where that went. What it returns is good until the
/// next call, whatever becomes of the peer meanwhile.
const neighbour_ptr& bridge::connected(peer_id peer) {
  if (last_from_ && last_from_->peer == peer && !last_from_->lost) return last_from_;
  const auto known = up_.find(peer);
  return last_from_ = known == up_.end() ? nullptr : known->second;
}

/// The registry takes a lock. Nothing if the actor has ended.
const caf::strong_actor_ptr& bridge::local_actor(caf::actor_id actor) {
  if (!last_to_ || last_to_->id() != actor) last_to_ = system_.registry().get(actor);
  if (last_to_ && last_to_->get()->getf(caf::abstract_actor::is_terminated_flag)) last_to_ = nullptr;
  return last_to_;
}

void bridge::receive(const neighbour_ptr& from, std::span<const std::byte> meta, std::span<segment> segments,
                     receipt room) {
  const auto head = take_head(meta);
  if (!head) {
    ++counters_.refused;
    return log::error("a frame of {} is no actor message", from->uri);
  }
  switch (head->kind) {
  case message_kind::message: return receive_message(from, *head, meta, segments, std::move(room));
  case message_kind::watch: return watch(from, head->to);
  case message_kind::ended: {
    caf::error reason;
    auto source = reader_of(&unit_, meta);
    if (source(reason) || !reason) reason = caf::exit_reason::unknown;
    from->forget(head->from);
    return proxies_.erase(from->node, head->from, reason);
  }
  case message_kind::link:
  case message_kind::unlink: {
    const auto local = system_.registry().get(head->to);
    const auto remote = actor_of(from, head->from);
    if (!local || !remote) return; // the end of `to` is on its way already
    auto* const proxy = static_cast<caf::actor_proxy*>(remote->get());
    return head->kind == message_kind::link ? proxy->add_link(local->get()) : proxy->remove_link(local->get());
  }
  case message_kind::look_up:
    return answer_look_up(from, *head, {reinterpret_cast<const char*>(meta.data()), meta.size()});
  case message_kind::found: return take_found(from, *head, meta);
  }
}

void bridge::receive_message(const neighbour_ptr& from, const message_head& head, std::span<const std::byte> rest,
                             std::span<segment> segments, receipt room) {
  const caf::message_id id(head.id);
  if (id.is_response()) open_.remove(head.to, id);
  caf::strong_actor_ptr sender;
  caf::mailbox_element::forwarding_stack stages;
  auto source = reader_of(&unit_, rest);
  if (head.foreign_sender && source(sender))
    return take_unreadable(*from, head, nullptr, {errc::bad_input, "a malformed sender"});
  if (!head.foreign_sender && head.from != 0) sender = actor_of(from, head.from);
  if (head.staged && source(stages)) return take_unreadable(*from, head, sender, {errc::bad_input, "malformed stages"});

  const auto& receiver = local_actor(head.to);
  if (!receiver) {
    if (id.is_request()) caf::detail::sync_request_bouncer{caf::exit_reason::unknown}(sender, id);
    return;
  }
  if (head.codec != 0) {
    const bool numbered = head.codec <= from->numbers.codecs.size() && !head.foreign_sender && !head.staged;
    if (!numbered) return take_unreadable(*from, head, sender, {errc::bad_input, "a malformed message"});
    const auto ours = from->numbers.codecs[head.codec - 1];
    if (!ours)
      return take_unreadable(
          *from, head, sender,
          {errc::unsupported, "message codec " + from->numbers.theirs.codecs[head.codec - 1] + " is not known here"});
    auto made = codecs_[*ours - 1].decode({sender, id, std::move(room), &unit_}, rest, segments);
    if (!made) return take_unreadable(*from, head, sender, made.error());
    receiver->enqueue(std::move(*made), &unit_);
    return;
  }
  const segments_beside scope(segments);
  auto content = read_values(*from, source);
  if (!content) return take_unreadable(*from, head, sender, content.error());
  receiver->enqueue(caf::mailbox_element_ptr(new received_message(std::move(sender), id, std::move(stages),
                                                                  std::move(*content), std::move(room))),
                    &unit_);
}

result<caf::message> bridge::read_values(const neighbour& from, caf::binary_deserializer& source) {
  std::uint16_t count = 0;
  if (source(count)) return error{errc::bad_input, "a message without a length"};
  auto values = caf::make_counted<caf::detail::dynamic_message_data>();
  for (int i = 0; i < count; ++i) {
    type_number theirs = 0;
    if (source(theirs) || theirs >= from.numbers.types.size()) return error{errc::bad_input, "a malformed message"};
    const auto ours = from.numbers.types[theirs];
    const auto& name = from.numbers.theirs.types[theirs];
    if (!ours) return error{errc::unsupported, "message type " + name + " is not known here"};
    auto value = types_->make(*ours);
    if (auto failed = value->load(source)) return error{errc::bad_input, "a malformed value of type " + name};
    values->append(std::move(value));
  }
  return caf::message(caf::detail::message_data::cow_ptr(values.release(), false));
}

/// Nobody is left waiting for it.
void bridge::take_unreadable(const neighbour& from, const message_head& head, const caf::strong_actor_ptr& sender,
                             const error& why) {
  ++counters_.refused;
  log::error("a message of {} is refused: {}", from.uri, why.message);
  const caf::message_id id(head.id);
  if (id.is_request() && sender) return refuse(sender, id, why);
  const auto receiver = id.is_response() ? system_.registry().get(head.to) : nullptr;
  if (receiver) receiver->enqueue(sender, id, caf::make_message(to_caf_error(why)), &unit_);
}

caf::strong_actor_ptr bridge::actor_of(const neighbour_ptr& at, caf::actor_id actor) {
  if (at->last_actor && at->last_actor->id() == actor) return at->last_actor;
  auto& known = at->actors[actor];
  if (!known) known = proxies_.get_or_put(at->node, actor);
  return at->last_actor = known;
}

void bridge::watch(const neighbour_ptr& for_whom, caf::actor_id actor) {
  const auto local = system_.registry().get(actor);
  if (!local) return send_ended(for_whom, actor, caf::exit_reason::unknown);
  local->get()->attach_functor(
      [alive = std::weak_ptr(alive_), weak = std::weak_ptr(for_whom), actor](const caf::error& why) {
        const auto owner = alive.lock();
        const auto n = weak.lock();
        if (owner && n) (*owner)->send_ended(n, actor, why);
      });
}

void bridge::answer_look_up(const neighbour_ptr& to, const message_head& head, const std::string& name) {
  found_actor found;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = published_.find(name);
    if (entry != published_.end()) found = entry->second;
  }
  const bool ended = found.actor && found.actor->get()->getf(caf::abstract_actor::is_terminated_flag);
  std::vector<char> meta;
  put_head(meta, {.kind = message_kind::found, .from = found.actor && !ended ? found.actor->id() : 0, .id = head.id});
  caf::binary_serializer sink(&unit_, meta);
  if (auto failed = sink(found.types)) meta.resize(sizeof(message_head));
  send_owed(to, std::move(meta));
}

} // namespace troupe::net
