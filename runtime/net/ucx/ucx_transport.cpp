// Puts the parts together, and is what other threads see of them. Sends of other threads go out at once where the
// progress thread leaves the worker alone (asleep, or in run_some); else it finds them in its queue.
#include "runtime/net/ucx/ucx_transport.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/net/ucx/host_identity.hpp"
#include "runtime/net/ucx/progress_loop.hpp"

#include <optional>
#include <thread>

namespace troupe::net {

namespace {

class ucx_transport final : public transport {
 public:
  ucx_transport(ucx_options how, std::unique_ptr<ucx_worker> worker)
      : how_(std::move(how)), worker_(std::move(worker)), io_(1) {}
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
  result<std::shared_ptr<outbound>> way_to(peer_id to) const;
  void submit(std::unique_ptr<outgoing_frame> frame);
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

result<std::shared_ptr<outbound>> ucx_transport::way_to(peer_id to) const {
  auto way = running_ ? table_.outbound_of(to) : nullptr;
  if (!way) return error{errc::disconnected, "peer " + std::to_string(to.value) + " is gone"};
  return way;
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

result<void> ucx_transport::send(peer_id to, stream_id stream, std::span<const std::byte> meta,
                                 std::span<const segment> segments) {
  const auto refused = [](const std::string& why) { return error{errc::bad_input, "frame: " + why}; };
  if (meta.size() > limits::frame_meta_bytes_max) return refused("meta of " + std::to_string(meta.size()) + " bytes");
  if (segments.size() > limits::frame_segments_max) return refused(std::to_string(segments.size()) + " segments");
  for (const auto& part : segments)
    if (part.size() > limits::segment_bytes_max) return refused("segment of " + std::to_string(part.size()) + " bytes");
  TROUPE_ASSIGN(auto way, way_to(to));
  auto frame = std::make_unique<outgoing_frame>(way, stream, meta, segments);
  if (!way->reserve(frame->room_bytes()))
    return error{errc::overloaded, "peer " + std::to_string(to.value) + " does not keep up: " +
                                       std::to_string(limits::peer_waiting_bytes_max) + " bytes wait for it"};
  submit(std::move(frame));
  return {};
}

/// A frame may leave inline only if it overtakes none: no job waits (looked at under the lock), none of its own kind.
void ucx_transport::submit(std::unique_ptr<outgoing_frame> frame) {
  const auto way = frame->to;
  if (in_progress_thread()) {
    const spin_hold hold(net_->lock);
    return way->add(std::move(frame));
  }
  if (!net_->lock.try_lock()) return jobs_->push(std::move(frame));
  if (!jobs_->empty()) {
    net_->lock.unlock();
    return jobs_->push(std::move(frame));
  }
  way->send_now(std::move(frame));
  const bool kick = std::exchange(net_->needs_progress, false);
  net_->lock.unlock();
  if (kick) jobs_->wake();
}

result<void> ucx_transport::send_hot(peer_id to, std::uint8_t lane, std::span<const std::byte> bytes) {
  if (bytes.size() > hot_bytes_max || lane >= hot_lanes_max)
    return error{errc::bad_input, "hot lane " + std::to_string(lane) + ", " + std::to_string(bytes.size()) + " bytes"};
  TROUPE_ASSIGN(const auto way, way_to(to));
  bool taken = true;
  if (in_progress_thread()) {
    const spin_hold hold(net_->lock);
    taken = way->send_hot(lane, bytes);
  } else if (net_->lock.try_lock()) {
    taken = way->send_hot(lane, bytes);
    const bool kick = std::exchange(net_->needs_progress, false);
    net_->lock.unlock();
    if (kick) jobs_->wake();
  } else {
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
  const bool loopback = how.host == "localhost" || how.host == "[::1]" || how.host.starts_with("127.");
  TROUPE_ASSIGN(auto worker, ucx_worker::make({how.transports, loopback ? "lo" : ""}));
  auto out = std::make_unique<ucx_transport>(std::move(how), std::move(worker));
  TROUPE_TRY(out->listen());
  return std::unique_ptr<transport>(std::move(out));
}

} // namespace troupe::net
