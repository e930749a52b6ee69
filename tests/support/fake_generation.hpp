// A generation_service without a model: says what a test scripts, token by token, from a thread of its own.
#pragma once

#include "actors/generation_service.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::test {

inline role_status ready_role() {
  role_status out;
  out.role = "kv_cache";
  out.name = "kv_cache-0";
  out.state = "ready";
  return out;
}

class fake_generation final : public generation_service {
 public:
  /// The answer to a prompt; ends with its last token as a model ends with its end token. After a token -1 at its end
  /// nothing comes any more, not even the end.
  using script = std::function<std::vector<token_id>(const generation_request&)>;

  explicit fake_generation(script s) : script_(std::move(s)), thread_([this] { deliver(); }) {}
  ~fake_generation() override {
    {
      const std::scoped_lock lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// From now on: refuse requests with `e`; stop after `count` tokens of an answer and go on never; fail it there.
  void refuse(std::optional<error> e) {
    set([&] { refusal_ = std::move(e); });
  }
  void hold_after(std::size_t count) {
    set([&] { hold_after_ = count; });
  }
  void fail_after(std::size_t count) {
    set([&] { fail_after_ = count; });
  }
  void report(cluster_status s) {
    set([&] { status_ = std::move(s); });
  }

  std::vector<generation_request> requests() {
    const std::scoped_lock lock(mutex_);
    return requests_;
  }
  /// Waits until so many requests were cancelled; false after a generous time.
  bool wait_for_cancelled(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return cancelled_ >= count; });
  }

  result<void> submit(generation_request request, token_sink sink) override {
    const std::scoped_lock lock(mutex_);
    if (refusal_) return *refusal_;
    requests_.push_back(request);
    auto tokens = script_(request);
    open_.emplace(request.id, answer{std::move(request), std::move(tokens), std::move(sink)});
    changed_.notify_all();
    return {};
  }
  void cancel(request_id id) override {
    const std::scoped_lock calls(sink_mutex_);
    const std::scoped_lock lock(mutex_);
    cancelled_ += open_.erase(id);
    changed_.notify_all();
  }
  request_id next_id() override { return request_id{next_id_.fetch_add(1)}; }
  cluster_status status() override {
    const std::scoped_lock lock(mutex_);
    return status_;
  }

 private:
  struct answer {
    generation_request request;
    std::vector<token_id> tokens;
    token_sink sink;
    std::size_t sent = 0;
  };

  template <class Change>
  void set(Change change) {
    const std::scoped_lock lock(mutex_);
    change();
    changed_.notify_all();
  }

  bool can_go_on(const answer& a) const { return a.sent < hold_after_ && a.tokens.at(a.sent) >= 0; }

  /// One token of every open answer a round, so that answers mix as in a batch.
  void deliver() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] {
        return stopped_ || std::any_of(open_.begin(), open_.end(), [&](auto& a) { return can_go_on(a.second); });
      });
      if (stopped_) return;
      std::vector<request_id> ids;
      for (const auto& [id, a] : open_)
        if (can_go_on(a)) ids.push_back(id);
      lock.unlock();
      for (const auto id : ids) emit(id);
      lock.lock();
    }
  }

  void emit(request_id id) {
    const std::scoped_lock calls(sink_mutex_); // cancel() returns only when no call is under way
    std::vector<token_event> events;
    token_sink sink;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = open_.find(id);
      if (found == open_.end()) return;
      events = next_events(found->second);
      sink = found->second.sink;
      if (events.back().finish != finish_reason::none) open_.erase(found);
    }
    for (const auto& event : events) sink(event);
  }

  std::vector<token_event> next_events(answer& a) {
    std::vector<token_event> out;
    const auto& wish = a.request.sampling;
    const auto prompt_size = static_cast<std::int32_t>(a.request.prompt.size());
    if (a.sent == 0 && wish.prompt_logprobs)
      for (std::int32_t i = 1; i < prompt_size; ++i)
        out.push_back(event_of(a, i - prompt_size, a.request.prompt[static_cast<std::size_t>(i)]));
    if (a.sent >= fail_after_) {
      auto& end = out.emplace_back();
      end.id = a.request.id;
      end.index = static_cast<std::int32_t>(a.sent);
      end.finish = finish_reason::failed;
      return out;
    }
    const auto token = a.tokens.at(a.sent);
    out.push_back(event_of(a, static_cast<std::int32_t>(a.sent++), token));
    const auto& stops = wish.stop_token_ids;
    if (a.sent == a.tokens.size() || std::find(stops.begin(), stops.end(), token) != stops.end())
      out.back().finish = finish_reason::stop;
    else if (a.sent == static_cast<std::size_t>(wish.max_tokens))
      out.back().finish = finish_reason::length;
    return out;
  }

  static token_event event_of(const answer& a, std::int32_t index, token_id token) {
    token_event out;
    out.id = a.request.id;
    out.index = index;
    out.token = token;
    if (a.request.sampling.logprobs < 0) return out;
    out.logprob = -0.25f;
    for (int i = 0; i < a.request.sampling.logprobs; ++i) out.top.push_back({token + i, -0.25f - float(i)});
    return out;
  }

  std::mutex sink_mutex_; // before mutex_
  std::mutex mutex_;
  std::condition_variable changed_;
  script script_;
  std::optional<error> refusal_;
  std::size_t hold_after_ = std::numeric_limits<std::size_t>::max();
  std::size_t fail_after_ = std::numeric_limits<std::size_t>::max();
  cluster_status status_{.ready = true, .roles = {ready_role()}};
  std::map<request_id, answer> open_;
  std::vector<generation_request> requests_;
  std::size_t cancelled_ = 0;
  std::atomic<std::uint64_t> next_id_{1};
  bool stopped_ = false;
  std::thread thread_;
};

} // namespace troupe::test
