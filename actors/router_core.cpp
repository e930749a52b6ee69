#include "actors/router_core.hpp"

#include "runtime/exec/sampler.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace troupe {

result<void> router_core::check(const generation_request& request) const {
  const auto bad = [](std::string message) { return error{errc::bad_input, std::move(message)}; };
  if (request.prompt.empty()) return bad("prompt: must have at least one token");
  const auto known = [&](token_id token) { return token >= 0 && token < options_.vocab_size; };
  if (!std::all_of(request.prompt.begin(), request.prompt.end(), known))
    return bad("prompt: token ids must be in [0, " + std::to_string(options_.vocab_size) + ")");
  const auto longest = request.prompt.size() + static_cast<std::size_t>(std::max(1, request.sampling.max_tokens));
  if (longest > static_cast<std::size_t>(options_.max_model_len))
    return bad("prompt: " + std::to_string(request.prompt.size()) + " tokens and max_tokens " +
               std::to_string(request.sampling.max_tokens) + " exceed max_model_len " +
               std::to_string(options_.max_model_len));
  if (journal_.contains(request.id)) return bad("id: request " + std::to_string(request.id.value) + " exists");
  return exec::validate(request.sampling);
}

result<void> router_core::submit(generation_request request, time_point now) {
  if (draining_) return error{errc::disconnected, "draining: no new requests"};
  if (!was_ready_) return error{errc::disconnected, "starting: no kv_cache is ready yet"};
  TROUPE_TRY(check(request));
  if (const auto room = waiting_room_.on_arrival(beyond_capacity(), now); !room.admitted) {
    const auto wait = std::chrono::ceil<std::chrono::seconds>(room.retry_after).count();
    return error{errc::overloaded, "too many requests: " + std::to_string(journal_.size()) + " are open",
                 static_cast<int>(wait)};
  }
  entry e;
  e.next_index = static_cast<std::int32_t>(request.output.size());
  if (request.sampling.prompt_logprobs && request.output.empty())
    e.next_index = 1 - static_cast<std::int32_t>(request.prompt.size());
  e.waiting_since = now;
  const auto id = request.id;
  e.request = std::move(request);
  journal_.emplace(id, std::move(e));
  return {};
}

/// Open requests that no kv_cache has a place for yet.
std::size_t router_core::beyond_capacity() const {
  const auto places = kv_caches_.size() * static_cast<std::size_t>(options_.max_num_seqs);
  return journal_.size() - std::min(journal_.size(), places);
}

std::vector<router_core::assignment> router_core::assign() {
  std::vector<assignment> out;
  if (kv_caches_.empty()) return out;
  for (auto& [id, e] : journal_) {
    if (e.kv_cache) continue;
    const auto least = std::min_element(kv_caches_.begin(), kv_caches_.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
    ++least->second;
    e.kv_cache = least->first;
    out.push_back({least->first, e.request});
  }
  return out;
}

bool router_core::accept(process_id from, const token_event& event, time_point now) {
  const auto it = journal_.find(event.id);
  if (it == journal_.end() || it->second.kv_cache != from) return false;
  auto& e = it->second;
  const bool ends = event.finish != finish_reason::none;
  if (event.index < e.next_index && !ends) return false; // a prompt position that was reported before a take-over
  e.next_index = event.index + 1;
  if (event.index >= 0 && event.token >= 0) e.request.output.push_back(event.token);
  ++steps_;
  if (ends) cancel(event.id, now);
  return true;
}

std::optional<process_id> router_core::cancel(request_id id, time_point now) {
  const auto it = journal_.find(id);
  if (it == journal_.end()) return std::nullopt;
  const auto holder = it->second.kv_cache;
  if (holder) --kv_caches_.at(*holder);
  if (beyond_capacity() > 0) waiting_room_.on_departure(now); // its place goes to one that waits
  journal_.erase(it);
  return holder;
}

void router_core::set_kv_caches(std::span<const process_id> serving, time_point now) {
  std::map<process_id, std::int32_t> next;
  for (const auto process : serving) next.emplace(process, 0);
  for (auto& [id, e] : journal_) {
    if (!e.kv_cache) continue;
    if (const auto it = next.find(*e.kv_cache); it != next.end()) {
      ++it->second;
    } else {
      e.kv_cache.reset();
      e.waiting_since = now;
    }
  }
  kv_caches_ = std::move(next);
  was_ready_ = was_ready_ || !kv_caches_.empty();
}

token_event router_core::end(const entry& e, finish_reason why) const {
  token_event last;
  last.id = e.request.id;
  last.index = std::max(0, e.next_index);
  last.finish = why;
  return last;
}

/// A router computes nothing that could stand still while this runs, so looking after its requests is a step: during a
/// long prefill there is no other.
std::vector<token_event> router_core::expire(time_point now) {
  ++steps_;
  std::vector<token_event> out;
  for (const auto& [id, e] : journal_)
    if (!e.kv_cache && now - e.waiting_since > limits::dispatch_timeout) out.push_back(end(e, finish_reason::failed));
  for (const auto& event : out) cancel(event.id, now);
  return out;
}

std::vector<token_event> router_core::abandon() {
  std::vector<token_event> out;
  for (const auto& [id, e] : journal_) out.push_back(end(e, finish_reason::failed));
  journal_.clear();
  for (auto& [process, count] : kv_caches_) count = 0;
  return out;
}

std::int32_t router_core::waiting() const {
  return static_cast<std::int32_t>(
      std::count_if(journal_.begin(), journal_.end(), [](const auto& item) { return !item.second.kv_cache; }));
}

} // namespace troupe
