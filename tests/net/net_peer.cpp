// net_peer [--host H] [--port P]: one process of the soak and of the tests with network namespaces. It answers peers
// and asks others, and counts whatever a transport could do wrong. Prints where it serves; then, by lines on stdin:
//
//   ping URI     from now on ask the one at URI numbered questions, with numbered segments in between
//   report       one line of JSON about everything since the start
//   (the end)    leave in order
//
// The cluster secret comes from the environment.
#include "runtime/core/clock.hpp"
#include "runtime/core/log.hpp"
#include "runtime/core/segment.hpp"
#include "runtime/net/bridge/bridge.hpp"
#include "runtime/net/bridge/segment_wire.hpp"
#include "runtime/net/ucx/ucx_transport.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <list>
#include <map>
#include <random>
#include <string>
#include <thread>

namespace {

using namespace troupe;
using namespace std::chrono_literals;
using caf::get_atom;
using caf::get_atom_v;
using caf::put_atom;
using caf::put_atom_v;

constexpr std::size_t segment_bytes_max = 2u << 20;
constexpr auto patience = 10s;           // for an answer: longer than it takes to find out that a peer is lost
constexpr auto reconnect_patience = 15s; // without it being back
constexpr auto name = "net_peer";

struct counts {
  // As the one who asks:
  std::atomic<std::uint64_t> answered{0};
  std::atomic<std::uint64_t> wrong{0};      ///< answers to something else
  std::atomic<std::uint64_t> bounced{0};    ///< questions that came back because the peer was lost
  std::atomic<std::uint64_t> timed_out{0};  ///< neither an answer nor a bounce
  std::atomic<std::uint64_t> overloaded{0}; ///< questions and segments that were refused
  std::atomic<std::uint64_t> given_up{0};   ///< peers that never came back
  std::atomic<std::uint64_t> bounce_ms_max{0};
  // As the one who answers:
  std::atomic<std::uint64_t> asked{0};
  std::atomic<std::uint64_t> repeated{0}; ///< asked again: the answer before was lost with its connection
  std::atomic<std::uint64_t> segments{0};
  std::atomic<std::uint64_t> out_of_order{0}; ///< segments whose number is not the next one of their stream
  std::atomic<std::uint64_t> damaged{0};      ///< segments with other bytes than were sent
};

counts total;

std::byte fill_of(std::uint64_t number) { return static_cast<std::byte>(number * 37 + 11); }

struct answerer_state {
  std::map<std::uint64_t, std::uint64_t> asked;   ///< [asker]: the next question's number
  std::map<std::uint64_t, std::uint64_t> streams; ///< [stream]: the next segment's number
};

caf::behavior answerer(caf::stateful_actor<answerer_state>* self) {
  return {[self](get_atom, std::uint64_t asker, std::uint64_t number) {
            auto& next = self->state.asked[asker];
            ++total.asked;
            if (number + 1 == next) ++total.repeated;
            if (number != next && number + 1 != next) ++total.out_of_order;
            next = number + 1;
            return number;
          },
          [self](put_atom, std::uint64_t stream, std::uint64_t number, const segment& bytes) {
            auto& next = self->state.streams[stream];
            ++total.segments;
            if (number != next) ++total.out_of_order;
            next = number + 1;
            const auto is_wrong = [number](std::byte b) { return b != fill_of(number); };
            if (std::ranges::any_of(bytes.bytes(), is_wrong)) ++total.damaged;
          }};
}

/// Asks one peer for ever; every connection is a new stream.
class asker {
 public:
  asker(caf::actor_system& system, std::string uri) : system_(system), uri_(std::move(uri)), self_(system) {}

  void run(const std::atomic<bool>& leaving) {
    while (!leaving && connect(leaving))
      while (!leaving && ask()) {
      }
  }

 private:
  /// False when it has to give up.
  bool connect(const std::atomic<bool>& leaving) {
    const auto end = clock::now() + reconnect_patience;
    while (!leaving && clock::now() < end) {
      if (auto peer = net::bridge::of(system_).remote_actor(uri_, name)) {
        peer_ = *peer;
        stream_ = random_();
        sent_ = 0;
        return true;
      }
      std::this_thread::sleep_for(50ms); // a dead process refuses at once
    }
    if (!leaving) ++total.given_up;
    return false;
  }

  /// False when the peer is lost.
  bool ask() {
    for (auto i = random_() % 4; i > 0; --i) send_segment();
    const auto begin = clock::now();
    bool alive = true;
    self_->request(peer_, patience, get_atom_v, me_, number_)
        .receive([this](std::uint64_t answer) { ++(answer == number_++ ? total.answered : total.wrong); },
                 [&](const caf::error& why) { alive = survives(why, clock::now() - begin); });
    return alive;
  }

  bool survives(const caf::error& why, duration waited) {
    if (why.category() == caf::atom("troupe") && why.code() == static_cast<std::uint8_t>(errc::overloaded)) {
      ++total.overloaded;
      return true;
    }
    if (why == caf::sec::request_timeout) return ++total.timed_out, false;
    ++total.bounced;
    const auto ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(waited).count());
    if (ms > total.bounce_ms_max) total.bounce_ms_max = ms;
    return false;
  }

  void send_segment() {
    auto bytes = segment::allocate(1 + random_() % segment_bytes_max);
    std::ranges::fill(bytes.writable(), fill_of(sent_));
    self_->send(peer_, put_atom_v, stream_, sent_++, bytes);
  }

  caf::actor_system& system_;
  std::string uri_;
  caf::scoped_actor self_;
  caf::actor peer_;
  std::mt19937_64 random_{std::random_device{}()};
  std::uint64_t me_ = random_();
  std::uint64_t number_ = 0; ///< of the question; asked again until it is answered
  std::uint64_t stream_ = 0;
  std::uint64_t sent_ = 0;
};

/// An asker with its thread.
struct asking {
  asking(caf::actor_system& system, std::string uri, const std::atomic<bool>& leaving)
      : thread([&, uri = std::move(uri)] {
          asker(system, uri).run(leaving);
          over = true;
        }) {}
  std::atomic<bool> over{false};
  std::jthread thread;
};

std::string report() {
  return boost::json::serialize(boost::json::object{{"answered", total.answered.load()},
                                                    {"wrong", total.wrong.load()},
                                                    {"bounced", total.bounced.load()},
                                                    {"timed_out", total.timed_out.load()},
                                                    {"overloaded", total.overloaded.load()},
                                                    {"given_up", total.given_up.load()},
                                                    {"bounce_ms_max", total.bounce_ms_max.load()},
                                                    {"asked", total.asked.load()},
                                                    {"repeated", total.repeated.load()},
                                                    {"segments", total.segments.load()},
                                                    {"out_of_order", total.out_of_order.load()},
                                                    {"damaged", total.damaged.load()}});
}

struct config : caf::actor_system_config {
  explicit config(std::unique_ptr<net::transport> wire) {
    add_message_type<segment>("segment");
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", 1);
    net::bridge::load(*this, std::move(wire));
  }
};

result<void> serve(const std::string& host, std::uint16_t port) {
  TROUPE_ASSIGN(auto secret, net::load_cluster_secret(net::secret_sources_from_environment()));
  TROUPE_ASSIGN(auto wire, net::make_ucx_transport({.host = host, .port = port, .secret = std::move(secret)}));
  config settings(std::move(wire));
  caf::actor_system system(settings);
  auto& bridge = net::bridge::of(system);
  TROUPE_TRY(bridge.started());
  const auto answers = system.spawn(answerer);
  bridge.publish(answers, name);
  std::cout << bridge.wire().uri() << std::endl;

  std::atomic<bool> leaving{false};
  std::list<asking> askers;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "report") std::cout << report() << std::endl;
    std::erase_if(askers, [](const asking& a) { return a.over.load(); });
    if (line.starts_with("ping ")) askers.emplace_back(system, line.substr(5), leaving);
  }
  leaving = true;
  askers.clear(); // joins
  caf::anon_send_exit(answers, caf::exit_reason::user_shutdown);
  return {};
}

} // namespace

int main(int argc, char** argv) {
  CLI::App app{"One process of the transport's soak."};
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string log_level = "warn";
  app.add_option("--host", host, "the interface to listen at");
  app.add_option("--port", port, "0: any");
  app.add_option("--log-level", log_level, "on stderr: debug tells of every connection");
  CLI11_PARSE(app, argc, argv);
  init_log(log_level, "net_peer");
  const auto outcome = serve(host, port);
  if (!outcome) std::cerr << outcome.error().message << std::endl;
  return outcome ? 0 : 1;
}
