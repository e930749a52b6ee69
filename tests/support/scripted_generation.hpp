// A router for gateway tests: keeps what was submitted, and says what the test tells it to say.
#pragma once

#include "actors/generation_service.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::test {

/// Thread-safe.
class scripted_generation final : public generation_service {
 public:
  /// If set, every submission is refused with it.
  std::optional<error> refusal;
  /// If set, a submission is answered at once with these tokens and then `script_end`.
  std::optional<std::vector<token_id>> script;
  finish_reason script_end = finish_reason::stop;
  cluster_status cluster;

  result<void> submit(generation_request request, token_sink sink) override {
    const std::scoped_lock lock(mutex_);
    if (refusal) return *refusal;
    const auto id = request.id;
    requests_.push_back(std::move(request));
    sinks_[id] = std::move(sink);
    if (script) say(id, *script, script_end);
    return {};
  }

  void cancel(request_id id) override {
    const std::scoped_lock lock(mutex_);
    if (sinks_.erase(id)) cancelled_.push_back(id);
  }

  request_id next_id() override { return request_id{next_++}; }
  cluster_status status() override { return cluster; }

  /// The n-th request's next event.
  void emit(std::size_t n, token_event event) {
    const std::scoped_lock lock(mutex_);
    event.id = requests_.at(n).id;
    deliver(event);
  }

  /// All of an answer: tokens from index 0, the last one with `end`.
  void emit(std::size_t n, const std::vector<token_id>& tokens, finish_reason end) {
    const std::scoped_lock lock(mutex_);
    say(requests_.at(n).id, tokens, end);
  }

  std::vector<generation_request> requests() const {
    const std::scoped_lock lock(mutex_);
    return requests_;
  }
  std::size_t cancelled_count() const {
    const std::scoped_lock lock(mutex_);
    return cancelled_.size();
  }

 private:
  void say(request_id id, const std::vector<token_id>& tokens, finish_reason end) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      token_event event;
      event.id = id;
      event.index = static_cast<std::int32_t>(i);
      event.token = tokens[i];
      event.logprob = -0.5f;
      event.top = {{tokens[i], -0.5f}};
      if (i + 1 == tokens.size()) event.finish = end;
      deliver(event);
    }
  }

  void deliver(const token_event& event) {
    const auto found = sinks_.find(event.id);
    if (found == sinks_.end()) return;
    found->second(event);
    if (event.finish != finish_reason::none) sinks_.erase(event.id);
  }

  mutable std::mutex mutex_;
  std::vector<generation_request> requests_;
  std::vector<request_id> cancelled_;
  std::unordered_map<request_id, token_sink> sinks_;
  std::uint64_t next_ = 1;
};

} // namespace troupe::test
