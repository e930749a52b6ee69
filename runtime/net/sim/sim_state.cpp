#include "runtime/net/sim/sim_state.hpp"

#include <algorithm>

namespace troupe::net {

namespace {

/// Meta aligned to 16, as a listener may expect it.
struct aligned_copy {
  explicit aligned_copy(std::span<const std::byte> from) : room((from.size() + 15) / 16), size(from.size()) {
    std::copy(from.begin(), from.end(), std::as_writable_bytes(std::span(room)).begin());
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(room)).first(size); }

  struct alignas(16) block {
    std::byte bytes[16];
  };
  std::vector<block> room;
  std::size_t size;
};

} // namespace

bool sim_network::state::run_some() {
  bool more = false;
  for (std::size_t i = 0;; ++i) {
    transport_listener* listener = nullptr;
    {
      const std::lock_guard lock(mutex);
      if (i == members.size()) return more;
      listener = members[i].listener;
    }
    if (listener) more |= listener->run_some();
  }
}

void sim_network::state::dial(const side_ptr& from, time_point since) {
  side_ptr to;
  std::string why;
  {
    const std::lock_guard lock(mutex);
    if (from->state != link_state::connecting) return;
    std::uint32_t target = 0;
    while (target < members.size() && members[target].uri != from->uri) ++target;
    if (target == members.size() || !members[target].listener)
      why = "nobody answers at " + from->uri;
    else if (apart.contains(pair_of(from->node, target)))
      why = time.now() - since >= limits::connect_timeout ? "no answer from " + from->uri : "";
    else
      to = live_side(members[target], members[from->node].uri);
    if (!to && why.empty() && !apart.contains(pair_of(from->node, target)))
      to = add_side(target, members[from->node].uri);
    if (!to && why.empty())
      return time.at(time.now() + rules.retransmit_after, [this, from, since] { dial(from, since); });
  }
  if (!why.empty()) return lose(from, why);
  if (to->state == link_state::up) { // of a connection that only we have given up
    lose(to, "has connected anew");
    return dial(from, since);
  }
  join(from, to);
}

void sim_network::state::join(const side_ptr& a, const side_ptr& b) {
  for (const auto& [mine, theirs] : {std::pair(a, b), std::pair(b, a)}) {
    transport_listener* listener = nullptr;
    std::vector<std::byte> hello;
    {
      const std::lock_guard lock(mutex);
      mine->other = theirs;
      mine->state = link_state::up;
      listener = members[mine->node].listener;
      hello = members[theirs->node].hello;
    }
    if (listener) listener->on_peer_up(mine->id, mine->uri, hello);
  }
  const std::lock_guard lock(mutex);
  pump(a);
  pump(b);
}

/// Sends what the receiver has room for; one frame always, however large.
void sim_network::state::pump(const side_ptr& from) {
  while (from->state == link_state::up && !from->waiting.empty()) {
    const auto& next = from->waiting.front();
    const bool fits = from->out_frames < rules.credit_frames && from->out_bytes + next->bytes <= rules.credit_bytes;
    if (!fits && from->out_frames > 0) return;
    ++from->out_frames;
    from->out_bytes += next->bytes;
    ++from->under_way;
    from->waiting_bytes -= next->bytes;
    transmit(from, next);
    from->waiting.pop_front();
  }
}

void sim_network::state::transmit(const side_ptr& from, const frame_ptr& what) {
  ++counts.sent;
  if (chance(rules.loss)) {
    ++counts.lost;
    return time.at(time.now() + rules.retransmit_after, [this, from, what] {
      const std::lock_guard lock(mutex);
      transmit(from, what);
    });
  }
  const int copies = chance(rules.duplicate) ? 2 : 1;
  if (copies == 2) ++counts.doubled;
  for (int i = 0; i < copies; ++i) time.at(arrival(), [this, from, what] { arrive(from, what); });
}

void sim_network::state::arrive(const side_ptr& from, const frame_ptr& what) {
  std::vector<frame_ptr> ready;
  side_ptr to;
  {
    const std::lock_guard lock(mutex);
    to = from->other.lock();
    if (!to || from->state != link_state::up || to->state != link_state::up) return;
    auto& box = to->inboxes[what->stream];
    if (what->number < box.next || box.early.contains(what->number)) return; // its other copy was here
    if (parted(*from, *to))
      return time.at(time.now() + rules.retransmit_after, [this, from, what] { arrive(from, what); });
    if (what->number != box.next) ++counts.reordered;
    box.early.emplace(what->number, what);
    while (!box.early.empty() && box.early.begin()->first == box.next) {
      ready.push_back(std::move(box.early.begin()->second));
      box.early.erase(box.early.begin());
      ++box.next;
    }
  }
  for (const auto& next : ready) hand_over(to, from, next);
}

void sim_network::state::hand_over(const side_ptr& to, const side_ptr& from, const frame_ptr& what) {
  transport_listener* listener = nullptr;
  {
    const std::lock_guard lock(mutex);
    --from->under_way;
    if (to->state == link_state::up) listener = members[to->node].listener;
  }
  receipt room(std::make_shared<keeper>(weak_from_this(), from), what->bytes);
  const aligned_copy meta(what->meta);
  auto segments = what->segments;
  if (listener) listener->on_frame(to->id, meta.bytes(), segments, std::move(room));
}

void sim_network::state::give_back(const side_ptr& from, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  time.at(arrival(), [this, from, bytes] {
    const std::lock_guard inner(mutex);
    --from->out_frames;
    from->out_bytes -= bytes;
    pump(from);
  });
}

void sim_network::state::transmit_hot(const side_ptr& from, std::uint8_t lane, const std::vector<std::byte>& bytes) {
  const bool lost = chance(rules.loss);
  const auto when = lost ? time.now() + rules.retransmit_after : arrival();
  time.at(when, [this, from, lane, bytes, lost] {
    hot_handler* handler = nullptr;
    side_ptr to;
    {
      const std::lock_guard lock(mutex);
      to = from->other.lock();
      if (from->state == link_state::down || (to && to->state == link_state::down)) return;
      if (lost || !to || parted(*from, *to)) return transmit_hot(from, lane, bytes);
      auto& member = members[to->node];
      if (member.listener && member.hot.contains(lane)) handler = &member.hot[lane];
    }
    if (handler) (*handler)(to->id, aligned_copy(bytes).bytes());
  });
}

void sim_network::state::lose(const side_ptr& whose, const std::string& why) {
  transport_listener* listener = nullptr;
  {
    const std::lock_guard lock(mutex);
    if (std::exchange(whose->state, link_state::down) == link_state::down) return;
    whose->waiting.clear();
    listener = members[whose->node].listener;
  }
  if (listener) listener->on_peer_down(whose->id, error{errc::disconnected, why});
}

/// With the mutex held: `node` says nothing more, and the others notice.
void sim_network::state::leave(std::uint32_t node, const std::string& why) {
  members[node].listener = nullptr;
  for (const auto& mine : members[node].sides) {
    mine->state = link_state::down;
    if (const auto other = mine->other.lock()) time.at(arrival(), [this, other, why] { lose(other, why); });
  }
}

bool sim_network::state::drained(std::uint32_t node) {
  const std::lock_guard lock(mutex);
  for (const auto& s : members[node].sides)
    if (s->state != link_state::down && (!s->waiting.empty() || s->under_way > 0)) return false;
  return true;
}

} // namespace troupe::net
