// Life of the bridge, its neighbours, names and pinned actors.
#include "runtime/net/bridge/bridge.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"
#include "runtime/net/bridge/progress_clock.hpp"
#include "runtime/net/bridge/remote_actor.hpp"
#include "runtime/net/peer_uri.hpp"

#include <caf/detail/sync_request_bouncer.hpp>
#include <caf/logger.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>
#include <caf/uri.hpp>

#include <future>
#include <utility>

namespace troupe::net {

namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

/// Of a whole uri, with its uid.
caf::node_id node_of(const std::string& uri) {
  caf::uri parsed;
  if (caf::parse(uri, parsed)) return {};
  return caf::make_node_id(parsed);
}

} // namespace

struct bridge::open_lookup {
  peer_id peer;
  std::promise<result<found_actor>> answer;
};

bridge::bridge(caf::actor_system& system, std::shared_ptr<transport> wire, std::vector<message_codec> codecs)
    : system_(system), wire_(std::move(wire)), codecs_(std::move(codecs)), unit_(*this), proxies_(system, *this),
      serial_(next_serial()) {
  unit_.proxy_registry_ptr(&proxies_);
}

void bridge::load(caf::actor_system_config& config, std::unique_ptr<transport> wire,
                  std::vector<message_codec> codecs) {
  const std::shared_ptr<transport> shared = std::move(wire);
  config.module_factories.emplace_back([shared](caf::actor_system& system) -> caf::actor_system::module* {
    return new progress_coordinator(system, shared);
  });
  config.module_factories.emplace_back([shared, codecs](caf::actor_system& system) -> caf::actor_system::module* {
    return new bridge(system, shared, codecs);
  });
}

void bridge::init(caf::actor_system_config& config) {
  name_node(system_, node_of(wire_->uri()));
  types_ = std::make_unique<type_table>(system_, config);
}

void bridge::start() {
  bridge_hello hello{types_->names(), {}};
  for (const auto& codec : codecs_) hello.codecs.push_back(codec.name);
  started_ = wire_->start(*this, write_hello(hello));
  if (!started_) log::error("{}: {}", wire_->uri(), started_.error().message);
}

/// The scheduler still runs: whoever waits for a peer is told.
void bridge::stop() {
  wire_->stop();
  stopped_ = true;
  alive_.reset();
  std::vector<neighbour_ptr> rest;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [peer, n] : neighbours_) rest.push_back(n);
    published_.clear(); // ~actor_system waits until nobody holds a detached actor
  }
  for (const auto& n : rest) lose(n, "");
  last_to_ = nullptr;
  proxies_.clear();
  for (auto* const job : std::exchange(run_queue_, {})) system_.scheduler().enqueue(job);
}

// -- neighbours -------------------------------------------------------------------------------------------------------

result<neighbour_ptr> bridge::dial(const std::string& uri) {
  TROUPE_ASSIGN(const auto parsed, parse_peer_uri(uri));
  if (parsed.uid.empty()) {
    const std::lock_guard lock(mutex_);
    for (const auto& [peer, n] : neighbours_)
      if (!n->lost && n->uri.starts_with(uri + "/")) return n;
  }
  TROUPE_ASSIGN(const auto peer, wire_->connect(uri));
  return neighbour_of(peer, parsed.uid.empty() ? "" : uri);
}

/// `uri` may be empty when it is not known yet.
neighbour_ptr bridge::neighbour_of(peer_id peer, const std::string& uri) {
  const std::lock_guard lock(mutex_);
  auto& n = neighbours_[peer];
  if (!n) n = std::make_shared<neighbour>(peer);
  if (n->uri.empty() && !uri.empty()) {
    n->uri = uri;
    n->node = node_of(uri);
  }
  return n;
}

void bridge::on_peer_up(peer_id peer, const std::string& uri, std::span<const std::byte> hello) {
  std::vector<neighbour_ptr> replaced;
  for (const auto& [other, n] : up_)
    if (n->uri == uri) replaced.push_back(n);
  for (const auto& n : replaced) lose(n, "has connected anew");

  const auto n = neighbour_of(peer, uri);
  auto read = read_hello(hello);
  if (!read) return lose(n, read.error().message);
  for (const auto& name : read->types) n->numbers.types.push_back(types_->find(name));
  for (const auto& name : read->codecs) {
    std::optional<std::uint16_t> number;
    for (std::size_t i = 0; i < codecs_.size(); ++i)
      if (codecs_[i].name == name) number = static_cast<std::uint16_t>(i + 1);
    n->numbers.codecs.push_back(number);
  }
  n->numbers.theirs = std::move(*read);
  up_[peer] = n;
  log::debug("{} is connected", uri);
}

void bridge::on_peer_down(peer_id peer, const error& why) { lose(neighbour_of(peer, ""), why.message); }

/// Everybody who waits for this process or watches its actors is told. Progress thread, or after the end of it.
void bridge::lose(const neighbour_ptr& whom, const std::string& why) {
  if (!stopped_ && !wire_->in_progress_thread()) return wire_->post([this, whom, why] { lose(whom, why); });
  if (whom->lost.exchange(true)) return;
  ran_caf_ = true;
  if (!why.empty()) log::info("lost {}: {}", whom->uri.empty() ? "a peer" : whom->uri, why);
  std::vector<std::shared_ptr<open_lookup>> lookups;
  {
    const std::lock_guard lock(mutex_);
    neighbours_.erase(whom->peer);
    std::erase_if(lookups_, [&](const auto& entry) {
      if (entry.second->peer != whom->peer) return false;
      lookups.push_back(entry.second);
      return true;
    });
  }
  for (const auto& waiting : lookups) waiting->answer.set_value(error{errc::disconnected, why});
  for (const auto& request : open_.take(whom->peer))
    if (const auto sender = caf::actor_cast<caf::strong_actor_ptr>(request.sender))
      caf::detail::sync_request_bouncer{caf::exit_reason::remote_link_unreachable}(sender, request.id);
  up_.erase(whom->peer);
  whom->last_actor = nullptr;
  whom->actors.clear();
  proxies_.erase(whom->node);
}

/// A process that cannot be reached has handles too; they end at once.
caf::strong_actor_ptr bridge::make_proxy(caf::node_id node, caf::actor_id actor) {
  if (node == caf::none || actor == caf::invalid_actor_id || stopped_) return nullptr;
  auto home = dial(to_string(node));
  if (!home) return nullptr;
  caf::actor_config config;
  auto proxy = caf::make_actor<remote_actor_proxy, caf::strong_actor_ptr>(actor, node, &system_, config, *this, *home);
  send_control(*home, {.kind = message_kind::watch, .to = actor});
  if ((*home)->lost) wire_->post([this, node, actor] { proxies_.erase(node, actor); });
  return proxy;
}

// -- names ------------------------------------------------------------------------------------------------------------

std::string bridge::publish_as(caf::strong_actor_ptr whom, std::set<std::string> types, const std::string& name) {
  invariant(name.find('/') == name.npos, "names of published actors have no '/'");
  system_.registry().put(whom->id(), whom);
  whom->get()->attach_functor([alive = std::weak_ptr(alive_), name, id = whom->id()](const caf::error&) {
    if (const auto owner = alive.lock()) (*owner)->forget(name, id);
  });
  const std::lock_guard lock(mutex_);
  published_[name] = {std::move(whom), std::move(types)};
  return wire_->uri() + "/" + name;
}

void bridge::forget(const std::string& name, caf::actor_id actor) {
  const std::lock_guard lock(mutex_);
  const auto entry = published_.find(name);
  if (entry != published_.end() && entry->second.actor->id() == actor) published_.erase(entry);
}

result<bridge::found_actor> bridge::look_up(const std::string& uri, const std::string& name) {
  invariant(!wire_->in_progress_thread(), "looking up an actor blocks");
  TROUPE_TRY(started_);
  TROUPE_ASSIGN(const auto home, dial(uri));
  const auto waiting = std::make_shared<open_lookup>();
  waiting->peer = home->peer;
  auto answer = waiting->answer.get_future();
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++last_lookup_;
    lookups_[number] = waiting;
  }
  std::vector<char> meta;
  put_head(meta, {.kind = message_kind::look_up, .id = number});
  meta.insert(meta.end(), name.begin(), name.end());
  send_owed(home, std::move(meta));
  if (home->lost || answer.wait_for(limits::connect_timeout) != std::future_status::ready) {
    const std::lock_guard lock(mutex_);
    lookups_.erase(number);
    return error{errc::disconnected, "no answer from " + uri};
  }
  auto found = answer.get();
  if (found && !found->actor) return error{errc::not_found, uri + " has no actor \"" + name + "\""};
  return found;
}

void bridge::take_found(const neighbour_ptr& from, const message_head& head, std::span<const std::byte> rest) {
  std::shared_ptr<open_lookup> waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = lookups_.find(head.id);
    if (entry == lookups_.end() || entry->second->peer != from->peer) return;
    waiting = entry->second;
    lookups_.erase(entry);
  }
  found_actor found;
  caf::binary_deserializer source(&unit_, reinterpret_cast<const char*>(rest.data()), rest.size());
  if (source(found.types)) return waiting->answer.set_value(error{errc::disconnected, "a malformed answer"});
  if (head.from != 0) found.actor = actor_of(from, head.from);
  waiting->answer.set_value(std::move(found));
}

// -- pinned actors ----------------------------------------------------------------------------------------------------

void bridge::pin_actor(const caf::strong_actor_ptr& whom) {
  auto* const job = dynamic_cast<caf::resumable*>(whom->get());
  invariant(job != nullptr && whom->node() == system_.node(), "only local event-based actors can be pinned");
  wire_->post([this, job] { pinned_.insert(job); });
  whom->get()->attach_functor([alive = std::weak_ptr(alive_), job](const caf::error&) {
    if (const auto owner = alive.lock()) (*owner)->wire_->post([owner = *owner, job] { owner->unpin(job); });
  });
}

void bridge::unpin(caf::resumable* job) {
  if (last_pinned_ == job) last_pinned_ = nullptr;
  pinned_.erase(job);
}

bool bridge::is_pinned(caf::resumable* job) {
  if (last_pinned_ == job) return true;
  if (!pinned_.contains(job)) return false;
  last_pinned_ = job;
  return true;
}

void bridge::unit::exec_later(caf::resumable* job) {
  if (owner_.wire_->in_progress_thread() && owner_.is_pinned(job))
    owner_.run_queue_.push_back(job);
  else
    owner_.system_.scheduler().enqueue(job);
}

bool bridge::run_some() {
  if (run_queue_.empty()) {
    // Now and then CAF keeps its logger in a thread that ran its code, and ~actor_system waits for the logger's end.
    if (std::exchange(ran_caf_, false)) caf::logger::set_current_actor_system(nullptr);
    return false;
  }
  ran_caf_ = true;
  for (auto turns = run_queue_.size(); turns > 0; --turns) {
    auto* const job = run_queue_.front();
    run_queue_.pop_front();
    if (job->resume(&unit_, limits::pinned_run_messages) == caf::resumable::resume_later)
      run_queue_.push_back(job);
    else
      caf::intrusive_ptr_release(job);
  }
  return !run_queue_.empty();
}

} // namespace troupe::net
