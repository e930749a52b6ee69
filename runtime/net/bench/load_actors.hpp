// The actors of the transport benchmark: one answers, the others measure. The same ones for every transport that
// carries CAF's messages, so that only what lies between them differs.
#pragma once

#include "runtime/net/bench/figures.hpp"

#include <caf/actor.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/message.hpp>
#include <caf/meta/type_name.hpp>
#include <caf/result.hpp>

#include <array>
#include <cstdint>
#include <future>
#include <utility>
#include <vector>

namespace troupe::net::bench {

struct small_message {
  std::array<std::uint64_t, small_bytes / sizeof(std::uint64_t)> words{};
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, small_message& m) {
  return f(caf::meta::type_name("bench_small_message"), m.words);
}

/// How many messages of a flood have been handled.
using handled_count = std::uint32_t;

/// Answers every small_message with itself; of a flood it acknowledges each `quarter` of the window.
template <class Large>
caf::behavior answerer() {
  auto sink = [handled = std::uint64_t{0}](handled_count quarter) mutable -> caf::result<caf::message> {
    if (++handled % quarter == 0) return caf::make_message(quarter);
    return caf::message{};
  };
  return {[](const small_message& m) { return m; },
          [sink](caf::put_atom, const small_message&, handled_count quarter) mutable { return sink(quarter); },
          [sink](caf::put_atom, const Large&, handled_count quarter) mutable { return sink(quarter); }};
}

/// Sends the next message when the answer has come, from an ok_atom on. Gives the round trips in microseconds.
class pinger : public caf::event_based_actor {
 public:
  struct task {
    caf::actor peer;
    duration how_long{};
    duration patience{}; ///< of requests; zero: plain messages
    std::promise<std::vector<double>>* done = nullptr;
  };

  pinger(caf::actor_config& config, task what) : caf::event_based_actor(config), task_(std::move(what)) {}

  caf::behavior make_behavior() override {
    return {[this](caf::ok_atom) {
              const auto now = clock::now();
              end_ = now + task_.how_long;
              fire(now);
            },
            [this](const small_message&) { on_answer(); }};
  }

 private:
  void fire(time_point now) {
    begin_ = now;
    if (task_.patience == duration::zero())
      send(task_.peer, small_message{});
    else
      request(task_.peer, task_.patience, small_message{}).then([this](const small_message&) { on_answer(); });
  }

  void on_answer() {
    const auto now = clock::now();
    round_trips_.push_back(microseconds(now - begin_));
    if (now < end_) return fire(now);
    task_.done->set_value(std::move(round_trips_));
    quit();
  }

  task task_;
  time_point end_;
  time_point begin_;
  std::vector<double> round_trips_;
};

/// Keeps a window of messages under way, from an ok_atom on. Gives messages per second.
template <class Message>
class flooder : public caf::event_based_actor {
 public:
  struct task {
    caf::actor peer;
    Message message;
    handled_count quarter = 0; ///< of the window
    duration how_long{};
    std::promise<double>* done = nullptr;
  };

  flooder(caf::actor_config& config, task what) : caf::event_based_actor(config), task_(std::move(what)) {}

  caf::behavior make_behavior() override {
    return {[this](caf::ok_atom) {
              begin_ = clock::now();
              for (int i = 0; i < 4; ++i) send_quarter();
            },
            [this](handled_count handled) {
              open_ -= handled;
              const auto now = clock::now();
              if (now < begin_ + task_.how_long) return send_quarter();
              if (open_ > 0) return;
              task_.done->set_value(static_cast<double>(sent_) / seconds(now - begin_));
              quit();
            }};
  }

 private:
  void send_quarter() {
    for (handled_count i = 0; i < task_.quarter; ++i) send(task_.peer, caf::put_atom_v, task_.message, task_.quarter);
    open_ += task_.quarter;
    sent_ += task_.quarter;
  }

  task task_;
  time_point begin_;
  std::uint64_t open_ = 0;
  std::uint64_t sent_ = 0;
};

} // namespace troupe::net::bench
