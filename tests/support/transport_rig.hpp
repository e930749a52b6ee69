// Two or more transports in one test: a listener that remembers what it is told, and waits for it with a deadline.
#pragma once

#include "runtime/net/ucx/ucx_transport.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace troupe::testing {

/// How long a test waits for what will come. ThreadSanitizer makes everything ten times slower.
#ifdef __SANITIZE_THREAD__
inline constexpr std::chrono::seconds patience{60};
#else
inline constexpr std::chrono::seconds patience{10};
#endif

struct got_frame {
  net::peer_id from;
  std::string meta;
  std::vector<segment> segments;
  net::receipt room;
};

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }
inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Called from the progress thread, where Boost.Test must not log. Keeps frames (with their receipts) until the test
/// takes them.
class recorder : public net::transport_listener {
  template <class F>
  auto locked(F&& f) {
    const std::lock_guard lock(mutex_);
    return f();
  }

 public:
  void on_peer_up(net::peer_id who, const std::string& uri, std::span<const std::byte> hello) override {
    const std::lock_guard lock(mutex_);
    up_[uri] = who;
    hellos_[uri] = text_of(hello);
    ++ups_;
    changed_.notify_all();
  }
  void on_frame(net::peer_id who, std::span<const std::byte> meta, std::span<segment> segments,
                net::receipt room) override {
    const std::lock_guard lock(mutex_);
    aligned_ = aligned_ && reinterpret_cast<std::uintptr_t>(meta.data()) % 16 == 0;
    ++frames_ever_;
    if (!drops) frames_.push_back({who, text_of(meta), {segments.begin(), segments.end()}, std::move(room)});
    changed_.notify_all();
  }
  void on_peer_down(net::peer_id who, const error& why) override {
    const std::lock_guard lock(mutex_);
    downs_.emplace_back(who, why);
    changed_.notify_all();
  }
  bool run_some() override { return false; }

  /// False after `patience`.
  template <class Until>
  bool wait(Until&& until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, until);
  }
  std::optional<net::peer_id> wait_up(const std::string& uri) {
    if (!wait([&] { return up_.contains(uri); })) return std::nullopt;
    const std::lock_guard lock(mutex_);
    return up_[uri];
  }
  std::optional<got_frame> wait_frame() {
    if (!wait([&] { return !frames_.empty(); })) return std::nullopt;
    const std::lock_guard lock(mutex_);
    auto out = std::move(frames_.front());
    frames_.pop_front();
    return out;
  }
  std::optional<error> wait_down(net::peer_id who) {
    std::optional<error> out;
    wait([&] {
      for (const auto& [id, why] : downs_)
        if (id == who) out = why;
      return out.has_value();
    });
    return out;
  }
  std::size_t frame_count() {
    return locked([&] { return frames_.size(); });
  }
  /// Frames are handled at once from now on: their room goes back.
  std::atomic<bool> drops{false};
  /// Within wait().
  std::size_t unlocked_frames_ever() const { return frames_ever_; }
  std::size_t unlocked_frames() const { return frames_.size(); }
  std::size_t unlocked_ups() const { return ups_; }
  std::size_t unlocked_downs() const { return downs_.size(); }
  std::size_t up_count() {
    return locked([&] { return ups_; });
  }
  std::size_t down_count() {
    return locked([&] { return downs_.size(); });
  }
  bool aligned() {
    return locked([&] { return aligned_; });
  }
  std::string hello_of(const std::string& uri) {
    return locked([&] { return hellos_[uri]; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, net::peer_id> up_;
  std::map<std::string, std::string> hellos_;
  std::size_t ups_ = 0;
  std::deque<got_frame> frames_;
  std::vector<std::pair<net::peer_id, error>> downs_;
  std::size_t frames_ever_ = 0;
  bool aligned_ = true;
};

inline net::ucx_options options_for(const std::string& transports) {
  net::ucx_options out;
  out.secret = net::cluster_secret("a secret of the tests only");
  out.transports = transports;
  return out;
}

/// A started transport with its recorder; stops with its scope.
struct node {
  explicit node(const net::ucx_options& how, const std::string& hello = "hello") {
    auto made = net::make_ucx_transport(how);
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made.has_value() ? "" : made.error().message));
    transport = std::move(*made);
    BOOST_REQUIRE(transport->start(heard, bytes_of(hello)).has_value());
  }
  explicit node(const std::string& transports) : node(options_for(transports)) {}

  /// The peer that serves the uri of `other`, once it is up.
  net::peer_id connected_to(node& other) {
    const auto peer = transport->connect(other.transport->uri());
    BOOST_REQUIRE(peer.has_value());
    BOOST_REQUIRE(heard.wait_up(other.transport->uri()).has_value());
    return *peer;
  }
  result<void> send(net::peer_id to, const std::string& meta, std::vector<segment> segments = {},
                    std::uint64_t stream = 1) {
    return transport->send(to, net::stream_id{stream}, bytes_of(meta), segments);
  }

  recorder heard; ///< outlives the transport
  std::unique_ptr<net::transport> transport;
};

} // namespace troupe::testing
