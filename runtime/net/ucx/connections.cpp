#include "runtime/net/ucx/connections.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

namespace troupe::net {

namespace asio = boost::asio;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds pause_without_descriptors{100};

/// A card's address: the identity of the host, a zero, the worker's address.
struct way {
  std::string host;
  std::span<const std::byte> worker;
};

way read_way(std::span<const std::byte> address) {
  const auto end = std::ranges::find(address, std::byte{0});
  const auto size = static_cast<std::size_t>(end - address.begin());
  return {std::string(reinterpret_cast<const char*>(address.data()), size),
          address.subspan(std::min(size + 1, address.size()))};
}

} // namespace

/// A channel number for as long as a handshake takes, or longer when keep() is called.
struct connections::channel_lease {
  explicit channel_lease(peer_table& of) : table(of), number(of.reserve_channel()) {}
  channel_lease(const channel_lease&) = delete;
  channel_lease& operator=(const channel_lease&) = delete;
  ~channel_lease() {
    if (!kept) table.close_channel(number);
  }
  std::uint32_t keep() { return kept = true, number; }

  peer_table& table;
  std::uint32_t number;
  bool kept = false;
};

connections::connections(parts with, identity me) : with_(std::move(with)), me_(std::move(me)) { read_address(); }

void connections::read_address() {
  const auto text = std::as_bytes(std::span(me_.host));
  address_.assign(text.begin(), text.end());
  address_.push_back(std::byte{0});
  const auto worker = with_.net.worker.address();
  address_.insert(address_.end(), worker.begin(), worker.end());
}

void connections::meet(const peer_card& card) {
  if (read_way(card.address).host == me_.host) return;
  if (met_.size() == limits::peers_max) met_.erase(met_.begin());
  met_.insert(card.uri);
}

/// A second connection between two hosts' processes begins with a worker that has not met the other side.
void connections::start_anew_with(const std::string& uri) {
  const spin_hold hold(with_.net.lock);
  if (!met_.contains(uri) || !with_.net.worker.renew()) return;
  met_.clear();
  read_address();
  log::debug("net: {} is met again, by a new worker", uri);
}

void connections::start(awaitable<void> what) {
  asio::co_spawn(with_.io, std::move(what), [](const std::exception_ptr& failed) {
    if (failed) log::error("net: a connection's coroutine ended with an exception");
  });
}

void connections::listen(tcp_acceptor& at) { start(accept_all(at)); }

std::shared_ptr<peer> connections::make_peer(peer_id id, const std::string& uri) {
  auto who = std::make_shared<peer>(id, uri);
  const auto on_failure = [this, id](const error& why) { with_.jobs->push([this, id, why] { fail_now(id, why); }); };
  // Runs in whatever thread drops the last receipt, perhaps when this transport has gone: only the queue is sure.
  const std::weak_ptr<job_queue> jobs = with_.jobs;
  who->back = std::make_shared<returned_room>([this, jobs, id] {
    const auto queue = jobs.lock();
    if (queue)
      queue->push([this, id] {
        if (const auto to = with_.table.outbound_of(id)) to->return_room();
      });
  });
  who->out = std::make_shared<outbound>(with_.net, who->back, on_failure);
  who->in = std::make_shared<inbound>(id, with_.listener, who->back, with_.fetches, on_failure);
  return who;
}

peer_card connections::card(std::uint32_t channel, std::string wanted) const {
  return {me_.uri, std::move(wanted), channel, address_, me_.hello};
}

void connections::dial(const peer_ptr& who) {
  if (who->state != peer_state::dialling) return;
  who->tether = std::make_shared<tcp_socket>(with_.io);
  start(reach(who, ++who->attempt, who->tether));
  with_.timers.add(clock::now() + limits::connect_timeout, [this, weak = std::weak_ptr(who)] {
    const auto late = weak.lock();
    if (late && late->state == peer_state::dialling)
      down(late, gone(late->uri, "did not answer within " + std::to_string(limits::connect_timeout.count()) + " ms"));
  });
}

awaitable<void> connections::reach(peer_ptr who, std::uint32_t attempt, socket_ptr socket) {
  const auto overtaken = [&] { return who->state != peer_state::dialling || who->attempt != attempt; };
  const auto target = parse_peer_uri(who->uri);
  if (!target) co_return down(who, target.error());
  const auto dialled = co_await net::dial(*socket, *target);
  if (overtaken()) co_return;
  if (!dialled) co_return down(who, dialled.error());

  start_anew_with(who->uri);
  channel_lease channel(with_.table);
  handshake::options how{handshake_role::dialler, card(channel.number, target->uid.empty() ? "" : who->uri)};
  const auto session = co_await shake_hands(*socket, me_.secret, std::move(how));
  if (overtaken()) co_return;
  if (!session) co_return down(who, session.error());
  if (session->peer.uri != who->uri && !with_.table.rename(who, session->peer.uri))
    co_return down(who, gone(who->uri, "is " + session->peer.uri + ", which is connected already"));

  const auto answer = co_await receive_signal(*socket);
  if (overtaken() || answer == static_cast<char>(signal_byte::refused)) co_return; // its own dial is on the way
  if (answer != static_cast<char>(signal_byte::accepted)) co_return down(who, gone(who->uri, "closed the connection"));
  const auto opened = open(who, *session, channel.keep(), socket);
  if (!opened) co_return down(who, opened.error());
  co_await send_signal(*socket, signal_byte::committed);
  co_await watch(who, socket);
}

awaitable<void> connections::accept_all(tcp_acceptor& at) {
  while (at.is_open()) {
    auto [failed, socket] = co_await at.async_accept(as_result);
    if (failed == asio::error::operation_aborted) co_return;
    if (failed) {
      asio::steady_timer pause(with_.io, pause_without_descriptors);
      co_await pause.async_wait(as_result);
    } else if (handshakes_ < limits::handshakes_max) {
      start(serve(std::make_shared<tcp_socket>(std::move(socket))));
    }
  }
}

awaitable<void> connections::serve(socket_ptr socket) {
  struct count {
    explicit count(std::size_t& of) : n(of) { ++n; }
    ~count() { --n; }
    std::size_t& n;
  };
  std::optional<count> counted(handshakes_);
  std::optional<socket_deadline> deadline(std::in_place, socket, limits::handshake_timeout);
  make_tether(*socket);
  channel_lease channel(with_.table);
  handshake::options how{handshake_role::acceptor, card(channel.number, "")};
  const auto session = co_await shake_hands(*socket, me_.secret, std::move(how));
  if (!session) {
    const auto level = session.error().code == errc::disconnected ? log::level::debug : log::level::warn;
    log::log(level, "net: a connection to {} was refused: {}", me_.uri, session.error().message);
    co_return;
  }
  auto [admitted_as, who] = admit(session->peer.uri, socket);
  if (admitted_as == admission::refused) {
    co_await send_signal(*socket, signal_byte::refused);
    co_return;
  }
  const auto attempt = who ? who->attempt : 0;
  meet(session->peer);
  const bool accepted = co_await send_signal(*socket, signal_byte::accepted);
  const auto answer = accepted ? co_await receive_signal(*socket) : '\0';
  if (who && (who->state != peer_state::accepting || who->attempt != attempt)) co_return; // another one was faster
  if (answer != static_cast<char>(signal_byte::committed)) {
    if (who) down(who, gone(who->uri, "dialled and went away"));
    co_return;
  }
  if (!who) {
    auto fresh = replace(session->peer.uri);
    if (!fresh) co_return;
    who = *fresh;
  }
  const auto opened = open(who, *session, channel.keep(), socket);
  if (!opened) co_return down(who, opened.error());
  deadline.reset();
  counted.reset();
  who->out->send_control(control_lane::ready);
  come_up(*who);
  co_await watch(who, socket);
}

connections::admitted connections::admit(const std::string& uri, const socket_ptr& socket) {
  const auto found = with_.table.find_or_add(uri, [&](peer_id id) {
    auto fresh = make_peer(id, uri);
    fresh->state = peer_state::accepting;
    return fresh;
  });
  if (!found) return {admission::refused, nullptr};
  const auto& who = found->who;
  if (who->state == peer_state::up) return {admission::replaces, nullptr};
  if (who->state == peer_state::dialling && me_.uri < uri) return {admission::refused, nullptr};
  boost::system::error_code ignored;
  if (who->tether) who->tether->close(ignored); // our own dial, or an earlier one of theirs
  who->tether = socket;
  who->state = peer_state::accepting;
  ++who->attempt;
  return {admission::joined, who};
}

/// The process has dialled us although we think that it is connected: it knows better.
result<connections::peer_ptr> connections::replace(const std::string& uri) {
  if (const auto old = with_.table.find(uri)) down(old, gone(uri, "has lost the connection and dialled again"));
  TROUPE_ASSIGN(const auto found, with_.table.find_or_add(uri, [&](peer_id id) { return make_peer(id, uri); }));
  return found.who;
}

result<void> connections::open(const peer_ptr& who, const handshake_session& session, std::uint32_t channel,
                               socket_ptr socket) {
  const auto to = read_way(session.peer.address);
  meet(session.peer);
  who->channel = channel;
  who->tether = std::move(socket);
  who->hello = session.peer.hello;
  with_.table.open_channel(channel, session.receive_tag, who);
  const spin_hold hold(with_.net.lock);
  const auto on_failure = [](void* failed, ucp_ep_h, ucs_status_t status) {
    static_cast<outbound*>(failed)->on_endpoint_failure(status);
  };
  TROUPE_ASSIGN(auto endpoint,
                ucx_endpoint::make(with_.net, to.worker, to.host == me_.host, on_failure, who->out.get()));
  who->out->open(std::move(endpoint), session.peer.channel, session.send_tag);
  return {};
}

void connections::on_ready(peer& who) {
  if (who.state == peer_state::dialling) come_up(who);
}

void connections::come_up(peer& who) {
  who.state = peer_state::up;
  who.pulse.emplace(clock::now());
  {
    const spin_hold hold(with_.net.lock);
    who.out->start();
  }
  feel_pulse(with_.table.find(who.id));
  log::debug("net: {} is connected", who.uri);
  with_.listener.on_peer_up(who.id, who.uri, who.hello);
}

void connections::feel_pulse(const peer_ptr& who) {
  if (!who || who->state != peer_state::up) return;
  switch (who->pulse->tick(clock::now())) {
  case liveness::verdict::lost: return down(who, gone(who->uri, "gives no sign of life"));
  case liveness::verdict::ping: send_signal_now(*who->tether, signal_byte::ping); break;
  case liveness::verdict::wait: break;
  }
  with_.timers.add(who->pulse->next_tick(), [this, weak = std::weak_ptr(who)] { feel_pulse(weak.lock()); });
}

awaitable<void> connections::watch(peer_ptr who, socket_ptr socket) {
  for (char heard = 1; heard;) {
    heard = co_await receive_signal(*socket);
    if (who->tether != socket) co_return;
    if (who->state == peer_state::down) continue;
    if (heard && who->pulse) who->pulse->on_sign(clock::now());
    if (heard == static_cast<char>(signal_byte::ping)) send_signal_now(*socket, signal_byte::pong);
  }
  who->ended = true;
  if (who->state == peer_state::down) co_return bury(*who);
  hear_the_rest();
  down(who, gone(who->uri, who->leaving ? "has left" : "has ended, or the link to it has"));
}

} // namespace troupe::net
