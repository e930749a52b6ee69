#include "runtime/net/bench/lanes.hpp"

#include "runtime/net/bench/load_actors.hpp"
#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/bridge/segment_wire.hpp"
#include "runtime/net/ucx/ucx_transport.hpp"

#include <boost/algorithm/hex.hpp>
#include <caf/send.hpp>

#include <cstring>
#include <iterator>
#include <sstream>

namespace troupe::net::bench {

namespace {

constexpr std::chrono::seconds patience{30};
constexpr auto answerer_name = "answerer";

/// What UCX may use, by our name for it.
result<std::string> tls_of(const std::string& transport) {
  if (transport == "shm") return std::string("posix,sysv,cma");
  if (transport == "tcp") return std::string("tcp");
  return error{errc::bad_input, "transport \"" + transport + "\": expected shm or tcp"};
}

std::string to_hex(std::span<const std::byte> bytes) {
  const auto* const begin = reinterpret_cast<const unsigned char*>(bytes.data());
  std::string out;
  boost::algorithm::hex(begin, begin + bytes.size(), std::back_inserter(out));
  return out;
}

result<std::vector<std::byte>> from_hex(const std::string& text) try {
  const auto plain = boost::algorithm::unhex(text);
  const auto bytes = std::as_bytes(std::span(plain));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
} catch (const boost::algorithm::hex_decode_error&) {
  return error{errc::bad_input, "the other end says \"" + text + "\" instead of where it is"};
}

std::vector<message_codec> codecs() {
  return {plain_codec<small_message>("bench_ping"),
          plain_codec<caf::atom_value, small_message, handled_count>("bench_flood"),
          plain_codec<handled_count>("bench_handled")};
}

} // namespace

hot_lane::hot_lane(transport& wire) : wire_(wire) {
  wire.on_hot(ping, [this](peer_id from, std::span<const std::byte> bytes) {
    static_cast<void>(wire_.send_hot(from, pong, bytes)); // a peer that is gone needs no answer
  });
  wire.on_hot(pong, [this](peer_id from, std::span<const std::byte>) { on_pong(from); });
}

void hot_lane::fire(peer_id peer, time_point now) {
  static constexpr std::array<std::byte, small_bytes> bytes{};
  begin_ = now;
  wire_.send_hot(peer, ping, bytes).value();
}

void hot_lane::on_pong(peer_id from) {
  const auto now = clock::now();
  round_trips_.push_back(microseconds(now - begin_));
  if (now < end_) return fire(from, now);
  done_.set_value();
}

std::vector<double> hot_lane::ping_pong(peer_id peer, duration how_long) {
  done_ = {};
  auto over = done_.get_future();
  wire_.post([this, peer, how_long] {
    const auto now = clock::now();
    end_ = now + how_long;
    fire(peer, now);
  });
  over.get();
  return std::exchange(round_trips_, {});
}

/// Policy `sharing` with one thread, as every Troupe process has it.
lanes::config::config(std::unique_ptr<transport> wire) {
  add_message_type<small_message>("bench_small_message");
  add_message_type<segment>("segment");
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", 1);
  bridge::load(*this, std::move(wire), codecs());
}

lanes::lanes(std::unique_ptr<raw_ucx> raw, std::unique_ptr<transport> wire)
    : raw_(std::move(raw)), hot_(*wire), config_(std::move(wire)), system_(config_),
      answers_(system_.spawn(answerer<segment>)) {
  auto& b = bridge::of(system_);
  b.pin(answers_);
  b.publish(answers_, answerer_name);
}

lanes::~lanes() { caf::anon_send_exit(answers_, caf::exit_reason::user_shutdown); }

result<std::unique_ptr<lanes>> lanes::open(const options& how) {
  TROUPE_ASSIGN(const auto tls, tls_of(how.transport));
  TROUPE_ASSIGN(auto raw, raw_ucx::open(tls, how.transport == "tcp" && !how.raw_blind));
  ucx_options settings{.secret = cluster_secret(how.secret), .spin_rounds = how.spin_rounds, .transports = tls};
  TROUPE_ASSIGN(auto wire, make_ucx_transport(std::move(settings)));
  std::unique_ptr<lanes> out(new lanes(std::move(raw), std::move(wire)));
  TROUPE_TRY(bridge::of(out->system_).started());
  return out;
}

std::string lanes::contact() const {
  return to_hex(raw_->address()) + " " + bridge::of(const_cast<caf::actor_system&>(system_)).wire().uri();
}

result<void> lanes::connect(const std::string& contact) {
  std::string address, uri;
  std::istringstream(contact) >> address >> uri;
  TROUPE_ASSIGN(const auto bytes, from_hex(address));
  TROUPE_TRY(raw_->connect(bytes));
  auto& b = bridge::of(system_);
  TROUPE_ASSIGN(peer_, b.remote_actor(uri, answerer_name));
  TROUPE_ASSIGN(peer_id_, b.wire().connect(uri));
  return {};
}

result<void> lanes::serve_raw() { return raw_->serve(patience); }

void lanes::measure_raw(duration how_long, lane_figures& out) {
  out.raw_us = median(raw_->ping_pong(how_long)) / 2;
  out.raw_rate = raw_->small_rate(how_long);
  out.raw_mbs = raw_->large_rate(how_long) * large_bytes / 1e6;
  raw_->stop_peer();
}

std::vector<double> lanes::ping_pong(duration how_long, duration request_patience) {
  std::promise<std::vector<double>> done;
  const auto measuring = system_.spawn<pinger>(pinger::task{peer_, how_long, request_patience, &done});
  bridge::of(system_).pin(measuring);
  caf::anon_send(measuring, caf::ok_atom_v);
  return done.get_future().get();
}

template <class Message>
double lanes::rate_of(const Message& message, std::uint32_t window, duration how_long) {
  std::promise<double> done;
  const auto measuring =
      system_.spawn<flooder<Message>>(typename flooder<Message>::task{peer_, message, window / 4, how_long, &done});
  bridge::of(system_).pin(measuring);
  caf::anon_send(measuring, caf::ok_atom_v);
  return done.get_future().get();
}

void lanes::measure_ours(duration how_long, lane_figures& out) {
  out.hot_us = median(hot_.ping_pong(peer_id_, how_long)) / 2;
  out.actor_us = median(ping_pong(how_long, {})) / 2;
  const auto requests = ping_pong(how_long, patience);
  out.request_p50_us = percentile(requests, 50);
  out.request_p99_us = percentile(requests, 99);
  out.actor_rate = rate_of(small_message{}, small_window, how_long);
  auto large = segment::allocate(large_bytes);
  std::memset(large.writable().data(), 1, large_bytes);
  out.actor_mbs = rate_of(large, large_window, how_long) * large_bytes / 1e6;
}

} // namespace troupe::net::bench
