// One mutex guards all connections; listeners are called without it, by whoever runs the timeline.
#include "runtime/net/sim/sim_network.hpp"

#include "runtime/net/peer_uri.hpp"
#include "runtime/net/sim/timeline.hpp"

#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace troupe::net {

namespace {

struct frame {
  stream_id stream;
  std::uint64_t number = 0; ///< within its stream
  std::vector<std::byte> meta;
  std::vector<segment> segments;
  std::size_t bytes = 0;
};
using frame_ptr = std::shared_ptr<const frame>;

/// What has arrived of one stream.
struct inbox {
  std::uint64_t next = 0;
  std::map<std::uint64_t, frame_ptr> early;
};

enum class link_state { connecting, up, down };

/// One side of a connection.
struct side {
  std::uint32_t node = 0; ///< whose side this is
  peer_id id;
  std::string uri; ///< of the other one
  link_state state = link_state::connecting;
  std::weak_ptr<side> other;
  std::deque<frame_ptr> waiting;
  std::size_t waiting_bytes = 0;
  std::size_t out_frames = 0, out_bytes = 0; ///< room taken at the receiver
  std::size_t under_way = 0;                 ///< frames that have not arrived
  std::map<stream_id, std::uint64_t> numbers;
  std::map<stream_id, inbox> inboxes;
};
using side_ptr = std::shared_ptr<side>;

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

struct sim_network::state : std::enable_shared_from_this<state> {
  struct member {
    std::string uri;
    transport_listener* listener = nullptr; ///< while it runs
    std::vector<std::byte> hello;
    std::vector<side_ptr> sides; ///< [peer_id]
    std::map<std::uint8_t, hot_handler> hot;
  };

  /// The receipts of frames from one side; they may outlive the network.
  struct keeper final : room_keeper {
    keeper(std::weak_ptr<state> n, side_ptr s) : network(std::move(n)), from(std::move(s)) {}
    void give_back(std::uint64_t bytes) override {
      if (const auto alive = network.lock()) alive->give_back(from, bytes);
    }
    std::weak_ptr<state> network;
    side_ptr from;
  };

  state(std::uint64_t seed, sim_rules r) : rules(r), random(seed) {
    time.on_every_turn([this] { return run_some(); });
  }

  bool chance(double probability) { return std::generate_canonical<double, 53>(random) < probability; }
  time_point arrival() {
    const auto spread = static_cast<double>((rules.delay_max - rules.delay_min).count());
    const auto extra = static_cast<duration::rep>(spread * std::generate_canonical<double, 53>(random));
    return time.now() + rules.delay_min + duration(extra);
  }
  static std::pair<std::uint32_t, std::uint32_t> pair_of(std::uint32_t a, std::uint32_t b) { return std::minmax(a, b); }
  bool parted(const side& s, const side& other) const { return apart.contains(pair_of(s.node, other.node)); }

  side_ptr live_side(member& m, const std::string& uri) {
    for (const auto& s : m.sides)
      if (s->uri == uri && s->state != link_state::down) return s;
    return nullptr;
  }
  side_ptr add_side(std::uint32_t node, std::string uri) {
    auto s = std::make_shared<side>();
    s->node = node;
    s->id = peer_id(static_cast<std::uint32_t>(members[node].sides.size()));
    s->uri = std::move(uri);
    members[node].sides.push_back(s);
    return s;
  }

  bool run_some();
  void dial(const side_ptr& from, time_point since);
  void join(const side_ptr& a, const side_ptr& b);
  void pump(const side_ptr& from);
  void transmit(const side_ptr& from, const frame_ptr& what);
  void arrive(const side_ptr& from, const frame_ptr& what);
  void hand_over(const side_ptr& to, const side_ptr& from, const frame_ptr& what);
  void give_back(const side_ptr& from, std::size_t bytes);
  void transmit_hot(const side_ptr& from, std::uint8_t lane, const std::vector<std::byte>& bytes);
  void lose(const side_ptr& whose, const std::string& why);
  void leave(std::uint32_t node, const std::string& why);
  bool drained(std::uint32_t node);

  const sim_rules rules;
  std::mutex mutex; ///< of everything below
  std::mt19937_64 random;
  std::deque<member> members;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> apart; ///< which parting it is
  std::uint64_t partings = 0;
  sim_counts counts;
  timeline time; ///< last: its thread ends first
};

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

/// One transport.
class sim_network::node final : public transport {
 public:
  node(std::shared_ptr<state> net, std::uint32_t number) : net_(std::move(net)), number_(number), uri_(me().uri) {}
  ~node() override { stop(); }

  const std::string& uri() const override { return uri_; }

  result<void> start(transport_listener& listener, std::span<const std::byte> hello) override {
    const std::lock_guard lock(net_->mutex);
    me().hello.assign(hello.begin(), hello.end());
    me().listener = &listener;
    return {};
  }

  void stop() override {
    if (!started()) return;
    const auto until = net_->time.now() + limits::rpc_timeout;
    while (!net_->drained(number_) && net_->time.now() < until)
      if (net_->time.in_background())
        std::this_thread::sleep_for(net_->rules.delay_max);
      else
        net_->time.advance(net_->rules.retransmit_after);
    net_->time.between_tasks([this] {
      const std::lock_guard lock(net_->mutex);
      net_->leave(number_, uri_ + " has left");
    });
  }

  result<peer_id> connect(const std::string& uri) override {
    TROUPE_TRY(parse_peer_uri(uri));
    const std::lock_guard lock(net_->mutex);
    if (const auto present = net_->live_side(me(), uri)) return present->id;
    const auto made = net_->add_side(number_, uri);
    const auto now = net_->time.now();
    net_->time.at(net_->arrival(), [net = net_.get(), made, now] { net->dial(made, now); });
    return made->id;
  }

  result<void> send(peer_id peer, stream_id stream, std::span<const std::byte> meta,
                    std::span<const segment> segments) override {
    auto bytes = meta.size();
    for (const auto& s : segments) bytes += s.size();
    if (meta.size() > limits::frame_meta_bytes_max || segments.size() > limits::frame_segments_max)
      return error{errc::bad_input, "a frame above limits::frame_meta_bytes_max or frame_segments_max"};
    const std::lock_guard lock(net_->mutex);
    const auto to = me().sides.at(peer.value);
    if (to->state == link_state::down) return error{errc::disconnected, to->uri + " is gone"};
    if (!to->waiting.empty() && to->waiting_bytes + bytes > net_->rules.waiting_bytes_max)
      return error{errc::overloaded, to->uri + " does not keep up"};
    auto made = std::make_shared<frame>(
        frame{stream, to->numbers[stream]++, {meta.begin(), meta.end()}, {segments.begin(), segments.end()}, bytes});
    to->waiting_bytes += bytes;
    to->waiting.push_back(std::move(made));
    net_->pump(to);
    return {};
  }

  result<void> send_hot(peer_id peer, std::uint8_t lane, std::span<const std::byte> bytes) override {
    const std::lock_guard lock(net_->mutex);
    const auto to = me().sides.at(peer.value);
    if (to->state == link_state::down) return error{errc::disconnected, to->uri + " is gone"};
    if (bytes.size() > hot_bytes_max) return error{errc::bad_input, "hot bytes above hot_bytes_max"};
    net_->transmit_hot(to, lane, {bytes.begin(), bytes.end()});
    return {};
  }

  void on_hot(std::uint8_t lane, hot_handler handler) override {
    const std::lock_guard lock(net_->mutex);
    me().hot[lane] = std::move(handler);
  }

  void post(std::function<void()> task) override { later(net_->time.now(), std::move(task), timeline::kind::event); }
  void post_at(time_point when, std::function<void()> task) override {
    later(when, std::move(task), timeline::kind::timer);
  }
  bool in_progress_thread() const override { return net_->time.running_here(); }

  std::uint32_t number() const { return number_; }

 private:
  state::member& me() const { return net_->members[number_]; }
  bool started() const {
    const std::lock_guard lock(net_->mutex);
    return me().listener != nullptr;
  }
  void later(time_point when, std::function<void()> task, timeline::kind kind) {
    net_->time.at(
        when,
        [net = net_.get(), number = number_, task = std::move(task)] {
          {
            const std::lock_guard lock(net->mutex);
            if (!net->members[number].listener) return;
          }
          task();
        },
        kind);
  }

  std::shared_ptr<state> net_;
  std::uint32_t number_;
  std::string uri_;
};

sim_network::sim_network(std::uint64_t seed, sim_rules rules) : state_(std::make_shared<state>(seed, rules)) {}
sim_network::~sim_network() = default;

std::unique_ptr<transport> sim_network::make_transport() {
  const std::lock_guard lock(state_->mutex);
  const auto number = static_cast<std::uint32_t>(state_->members.size());
  const auto name = std::to_string(number + 1);
  state_->members.push_back({.uri = "sim://host:" + name + "/" + name});
  return std::make_unique<node>(state_, number);
}

void sim_network::run_until_idle() { state_->time.run_until_idle(); }
void sim_network::advance(duration by) { state_->time.advance(by); }
void sim_network::run_in_background() { state_->time.run_in_background(); }
time_point sim_network::now() const { return state_->time.now(); }

sim_counts sim_network::counts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

void sim_network::part(const transport& a, const transport& b) {
  const std::lock_guard lock(state_->mutex);
  const auto pair = state::pair_of(static_cast<const node&>(a).number(), static_cast<const node&>(b).number());
  const auto parting = ++state_->partings;
  state_->apart[pair] = parting;
  state_->time.at(state_->time.now() + limits::ping_timeout, [net = state_.get(), pair, parting] {
    std::vector<side_ptr> lost;
    {
      const std::lock_guard inner(net->mutex);
      if (const auto still = net->apart.find(pair); still == net->apart.end() || still->second != parting) return;
      for (const auto& s : net->members[pair.first].sides)
        if (const auto other = s->other.lock(); other && other->node == pair.second && s->state == link_state::up)
          lost.insert(lost.end(), {s, other});
    }
    for (const auto& s : lost) net->lose(s, s->uri + " is silent");
  });
}

void sim_network::heal(const transport& a, const transport& b) {
  const std::lock_guard lock(state_->mutex);
  state_->apart.erase(state::pair_of(static_cast<const node&>(a).number(), static_cast<const node&>(b).number()));
}

void sim_network::kill(const transport& whom) {
  state_->time.between_tasks([&] {
    const std::lock_guard lock(state_->mutex);
    state_->leave(static_cast<const node&>(whom).number(), whom.uri() + " has died");
  });
}

} // namespace troupe::net
