// One transport of a sim_network.
#pragma once

#include "runtime/net/peer_uri.hpp"
#include "runtime/net/sim/sim_state.hpp"

#include <thread>

namespace troupe::net {

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
    auto made = std::make_shared<sim_frame>(sim_frame{
        stream, to->numbers[stream]++, {meta.begin(), meta.end()}, {segments.begin(), segments.end()}, bytes});
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

} // namespace troupe::net
