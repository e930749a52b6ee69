#include "actors/listener_table.hpp"

#include <algorithm>

namespace troupe {

namespace {

/// The message for `listener`, made on first use. Few listeners exist, so a scan beats a map.
tokens_emitted& message_for(std::vector<std::pair<token_listener_actor, tokens_emitted>>& all,
                            const token_listener_actor& listener, process_id from) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& entry) { return entry.first == listener; });
  if (it != all.end()) return it->second;
  all.emplace_back(listener, tokens_emitted{from, {}});
  return all.back().second;
}

} // namespace

std::vector<std::pair<token_listener_actor, tokens_emitted>> listener_table::split(process_id from,
                                                                                   std::vector<token_event> events) {
  std::vector<std::pair<token_listener_actor, tokens_emitted>> out;
  for (auto& event : events) {
    const auto it = listeners_.find(event.id);
    if (it == listeners_.end()) continue;
    const bool last = event.finish != finish_reason::none;
    message_for(out, it->second, from).events.push_back(std::move(event));
    if (last) listeners_.erase(it);
  }
  return out;
}

} // namespace troupe
