// Puts the parts together, and is what other threads see of them. Sends of other threads go out at once where the
// progress thread leaves the worker alone (asleep, or in run_some); else it finds them in its queue.
#include "runtime/net/ucx/ucx_transport.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/net/ucx/host_identity.hpp"
#include "runtime/net/ucx/net_devices.hpp"
#include "runtime/net/ucx/progress_loop.hpp"

#include <optional>
#include <thread>

namespace troupe::net {

namespace {

class ucx_transport final : public transport {
 public:
  explicit ucx_transport(ucx_options how) : how_(std::move(how)), io_(1) {}
  ~ucx_transport() override { stop(); }

  result<void> listen();

  const std::string& uri() const override { return uri_; }
  result<void> start(transport_listener& listener, std::span<const std::byte> hello) override;
  void stop() override;
  result<peer_id> connect(const std::string& uri) override;
  result<void> send(peer_id to, stream_id stream, std::span<const std::byte> meta,
                    std::span<const segment> segments) override;
  result<void> send_hot(peer_id to, std::uint8_t lane, std::span<const std::byte> bytes) override;
  void on_hot(std::uint8_t lane, hot_handler handler) override;
  void post(std::function<void()> task) override { jobs_->push(std::move(task)); }
  void post_at(time_point when, std::function<void()> task) override;
  bool in_progress_thread() const override { return progress_thread_id_ == std::this_thread::get_id(); }

 private:
  std::shared_ptr<outbound> way_to(peer_id to) const { return running_ ? table_.outbound_of(to) : nullptr; }
  /// For the progress thread, without a lock or a count.
  outbound* known_way_to(peer_id to) { return running_ ? table_.last_outbound_of(to) : nullptr; }
  template <class Send>
  bool in_caller(Send&& send);
  result<void> submit(std::shared_ptr<outbound> way, peer_id to, stream_id stream, std::span<const std::byte> meta,
                      std::span<const segment> segments);
  connections::parts parts() { return {io_, *net_, table_, timers_, jobs_, gate_, fetches_}; }

  ucx_options how_;
  std::string uri_;
  fetch_list fetches_;
  std::optional<wire> net_; ///< frees after the worker what UCX still had
  std::unique_ptr<ucx_worker> worker_;
  std::shared_ptr<job_queue> jobs_ = std::make_shared<job_queue>();
  listener_gate gate_;
  peer_table table_;
  timer_wheel timers_{clock::now()};
  time_point now_{}; ///< of the progress thread
  boost::asio::io_context io_;
  std::optional<tcp_acceptor> acceptor_;
  std::optional<connections> connections_;
  std::optional<receiver> receiver_;
  std::optional<progress_loop> loop_;
  std::array<hot_handler, hot_lanes_max> hot_handlers_;
  std::atomic<std::thread::id> progress_thread_id_{};
  std::atomic<bool> running_{false};
  std::thread thread_;
};

result<void> ucx_transport::listen() {
  TROUPE_ASSIGN(acceptor_, listen_at(io_, how_.host, how_.port));
  const auto at = acceptor_->local_endpoint().address();
  TROUPE_ASSIGN(worker_, ucx_worker::make({how_.transports, net_devices_for(at)}));
  uri_ = to_string(peer_uri{"ucx", how_.host, acceptor_->local_endpoint().port(), fresh_uid()});
  net_.emplace(*worker_, *jobs_);
  return {};
}

result<void> ucx_transport::start(transport_listener& listener, std::span<const std::byte> hello) {
  invariant(!connections_, "a transport is started once");
  if (hello.size() > limits::card_hello_bytes_max)
    return error{errc::bad_input, "hello of " + std::to_string(hello.size()) + " bytes"};
  gate_.open(listener);
  connections_.emplace(
      parts(),
      connections::identity{uri_, how_.secret, {hello.begin(), hello.end()}, host_identity(worker_->transports())});
  receiver_.emplace(*connections_, table_, *net_, now_);
  for (std::uint8_t lane = 0; lane < hot_lanes_max; ++lane) receiver_->on_hot(lane, std::move(hot_handlers_[lane]));
  TROUPE_TRY(receiver_->attach());
  loop_.emplace(parts(), *connections_, progress_loop::options{how_.spin_rounds, how_.cpu}, now_);
  connections_->listen(*acceptor_);
  running_ = true;
  thread_ = std::thread([this] {
    progress_thread_id_ = std::this_thread::get_id();
    loop_->run();
  });
  return {};
}

void ucx_transport::stop() {
  if (!thread_.joinable()) return;
  running_ = false;
  jobs_->push([this] { loop_->leave(); });
  thread_.join();
  progress_thread_id_ = std::thread::id{};
  const spin_hold hold(net_->lock);
  boost::system::error_code ignored;
  acceptor_->close(ignored);
  connections_->leave_now();
  io_.restart();
  while (io_.poll() > 0) { // coroutines see the ends of their sockets
  }
  const auto patience = clock::now() + limits::ping_timeout;
  while (!net_->all_closed() && clock::now() < patience) (void)worker_->progress();
  if (!net_->all_closed()) worker_->abandon();
  worker_.reset();
}

result<peer_id> ucx_transport::connect(const std::string& uri) {
  TROUPE_ASSIGN(const auto target, parse_peer_uri(uri));
  if (target.scheme != "ucx") return error{errc::bad_input, uri + " is no address of this transport"};
  if (uri == uri_) return error{errc::bad_input, uri + " is this process"};
  if (!running_) return error{errc::disconnected, "the transport is stopped"};
  TROUPE_ASSIGN(const auto found,
                table_.find_or_add(uri, [&](peer_id id) { return connections_->make_peer(id, uri); }));
  found.who->claimed = true;
  if (found.is_new) jobs_->push([this, who = found.who] { connections_->dial(who); });
  return found.who->id;
}

/// Runs `send` in a thread that is not the progress thread, and lets it leave at once. False if it has to be a job: the
/// worker is busy, or jobs wait that it must not overtake (looked at under the lock), or `send` itself says so.
template <class Send>
bool ucx_transport::in_caller(Send&& send) {
  if (!net_->lock.try_lock()) return false;
  const bool done = jobs_->empty() && send();
  const bool kick = std::exchange(net_->needs_progress, false);
  net_->lock.unlock();
  if (kick) jobs_->wake();
  return done;
}

result<void> ucx_transport::send(peer_id to, stream_id stream, std::span<const std::byte> meta,
                                 std::span<const segment> segments) {
  const auto refused = [](const std::string& why) { return error{errc::bad_input, "frame: " + why}; };
  if (meta.size() > limits::frame_meta_bytes_max) return refused("meta of " + std::to_string(meta.size()) + " bytes");
  if (segments.size() > limits::frame_segments_max) return refused(std::to_string(segments.size()) + " segments");
  for (const auto& part : segments)
    if (part.size() > limits::segment_bytes_max) return refused("segment of " + std::to_string(part.size()) + " bytes");
  if (in_progress_thread()) {
    auto* const way = known_way_to(to);
    if (way && segments.empty() && jobs_->empty()) {
      const spin_hold hold(net_->lock);
      if (way->add_small(stream, meta)) {
        way->flush_soon();
        return {};
      }
    }
    return submit(way ? way->shared_from_this() : nullptr, to, stream, meta, segments);
  }
  auto way = way_to(to);
  const auto at_once = [&] {
    if (!way->add_small(stream, meta)) return false;
    way->flush();
    return true;
  };
  if (way && segments.empty() && in_caller(at_once)) return {};
  return submit(std::move(way), to, stream, meta, segments);
}

/// A frame that has to wait, or that is large.
result<void> ucx_transport::submit(std::shared_ptr<outbound> way, peer_id to, stream_id stream,
                                   std::span<const std::byte> meta, std::span<const segment> segments) {
  const auto name = [to] { return "peer " + std::to_string(to.value); };
  if (!way) return error{errc::disconnected, name() + " is gone"};
  auto frame = std::make_unique<outgoing_frame>(way, stream, meta, segments);
  if (!way->reserve(frame->room_bytes()))
    return error{errc::overloaded, name() + " does not keep up: " + std::to_string(limits::peer_waiting_bytes_max) +
                                       " bytes wait for it"};
  const auto at_once = [&] {
    way->add(std::move(frame));
    way->flush();
    return true;
  };
  if (!in_progress_thread()) {
    if (!in_caller(at_once)) jobs_->push(std::move(frame));
  } else if (jobs_->empty()) {
    const spin_hold hold(net_->lock);
    way->add(std::move(frame));
    way->flush_soon();
  } else {
    jobs_->push(std::move(frame)); // an actor may have sent from another thread before it came here
  }
  return {};
}

result<void> ucx_transport::send_hot(peer_id to, std::uint8_t lane, std::span<const std::byte> bytes) {
  if (bytes.size() > hot_bytes_max || lane >= hot_lanes_max)
    return error{errc::bad_input, "hot lane " + std::to_string(lane) + ", " + std::to_string(bytes.size()) + " bytes"};
  const auto gone = [to] { return error{errc::disconnected, "peer " + std::to_string(to.value) + " is gone"}; };
  bool taken = true;
  if (in_progress_thread()) {
    auto* const way = known_way_to(to);
    if (!way) return gone();
    const spin_hold hold(net_->lock);
    taken = way->send_hot(lane, bytes);
  } else {
    const auto way = way_to(to);
    if (!way) return gone();
    const auto at_once = [&] {
      taken = way->send_hot(lane, bytes);
      return true;
    };
    if (!in_caller(at_once))
      jobs_->push([way, lane, copy = std::vector(bytes.begin(), bytes.end())] { (void)way->send_hot(lane, copy); });
  }
  if (!taken)
    return error{errc::overloaded, "peer " + std::to_string(to.value) + " does not take its hot bytes: " +
                                       std::to_string(limits::peer_hot_waiting_max) + " wait for it"};
  return {};
}

void ucx_transport::on_hot(std::uint8_t lane, hot_handler handler) {
  invariant(lane < hot_lanes_max && !connections_, "hot handlers are set before start()");
  hot_handlers_[lane] = std::move(handler);
}

void ucx_transport::post_at(time_point when, std::function<void()> task) {
  if (in_progress_thread()) return timers_.add(when, std::move(task));
  jobs_->push([this, when, what = std::move(task)] { timers_.add(when, what); });
}

} // namespace

result<std::unique_ptr<transport>> make_ucx_transport(ucx_options how) {
  auto out = std::make_unique<ucx_transport>(std::move(how));
  TROUPE_TRY(out->listen());
  return std::unique_ptr<transport>(std::move(out));
}

} // namespace troupe::net
