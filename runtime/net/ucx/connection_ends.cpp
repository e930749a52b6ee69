// How connections end: in order, by failure, or because the peer's process has. What UCX still holds of a peer is given
// back when nobody can want it any more.
#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/ucx/connections.hpp"
#include "runtime/net/ucx/orphaned_memory.hpp"

namespace troupe::net {

/// What a process sent before its end may still be on its way through UCX while the socket's end is here.
void connections::hear_the_rest() {
  constexpr int rounds_max = 1'000;
  const spin_hold hold(with_.net.lock);
  for (int i = 0; i < rounds_max && with_.net.worker.progress(); ++i) {
  }
}

void connections::on_leaving(peer& who) {
  if (std::exchange(who.leaving, true)) return;
  who.out->stop_sending();
  with_.jobs->push([this, id = who.id] { part_from(with_.table.find(id)); });
}

/// Looks again each millisecond: closing earlier would take away what the peer is fetching.
void connections::part_from(const peer_ptr& who) {
  if (!who) return;
  if (who->out->quiet()) return down(who, gone(who->uri, "has left"));
  with_.timers.add(clock::now(), [this, weak = std::weak_ptr(who)] { part_from(weak.lock()); });
}

void connections::fail_soon(peer& who, const error& why) {
  who.failing = true;
  with_.jobs->push([this, id = who.id, why] { fail_now(id, why); });
}

void connections::fail_now(peer_id id, const error& why) {
  if (const auto who = with_.table.find(id)) down(who, why);
}

void connections::down(const peer_ptr& who, const error& why) {
  if (who->state == peer_state::down) return;
  const bool was_up = std::exchange(who->state, peer_state::down) == peer_state::up;
  ++who->attempt;
  with_.table.remove(who);
  if (who->channel) with_.table.close_channel(*who->channel);
  bool unfetched = false;
  {
    const spin_hold hold(with_.net.lock);
    unfetched = who->out->close() && !who->ended;
    if (who->ended) who->out->take_back_segments();
  }
  who->in->close();
  boost::system::error_code ignored;
  if (who->tether) unfetched ? (void)who->tether->shutdown(tcp_socket::shutdown_send, ignored) : hang_up(*who);
  log::debug("net: {} is gone: {}", who->uri, why.message);
  if (was_up || who->claimed) with_.listener.on_peer_down(who->id, why);
  tidy_up_soon();
}

/// What it was fetching when it went down was its own until it had ended, or hung up.
void connections::bury(peer& who) {
  hang_up(who);
  const spin_hold hold(with_.net.lock);
  who.out->take_back_segments();
}

void connections::hang_up(peer& who) {
  boost::system::error_code ignored;
  who.tether->close(ignored);
  who.tether.reset();
}

/// A while after a peer has gone its process has ended, too, and its parent knows.
void connections::tidy_up_soon() {
  if (std::exchange(tidies_soon_, true)) return;
  with_.timers.add(clock::now() + limits::orphaned_memory_patience, [this] {
    tidies_soon_ = false;
    const spin_hold hold(with_.net.lock);
    if (const auto bytes = release_orphaned_memory(); bytes > 0)
      log::debug("net: {} MiB of ended processes' memory given back", bytes >> 20);
  });
}

bool connections::leave() {
  const auto all = with_.table.all();
  const spin_hold hold(with_.net.lock);
  for (const auto& who : all) {
    if (who->state != peer_state::up && who->out->idle()) down(who, gone(who->uri, "is not needed any more"));
    if (who->state == peer_state::up && who->out->quiet() && !std::exchange(who->goodbye_said, true))
      who->out->send_control(control_lane::leaving);
  }
  return all.empty();
}

void connections::leave_now() {
  for (const auto& who : with_.table.all()) down(who, gone(who->uri, "is not needed any more"));
}

} // namespace troupe::net
