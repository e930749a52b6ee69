// Order within a stream although small frames are there at once and large ones are fetched. Frames are announced in
// the order of sending, so nothing needs a number: only the streams of which something is being fetched are known here.
// Pure. Invariant: a stream without an entry has nothing outstanding; its next frame may be handed over at once.
#pragma once

#include "runtime/net/transport.hpp"

#include <deque>
#include <unordered_map>
#include <utility>

namespace troupe::net {

template <class Frame>
class stream_order {
 public:
  /// A frame in its place; stays where it is until it is handed over.
  struct held {
    Frame frame;
    bool ready;
  };

  /// Whether a frame of `stream` has to wait for an earlier one.
  bool blocked(stream_id stream) const { return !waiting_.empty() && waiting_.contains(stream); }
  std::size_t streams() const { return waiting_.size(); }

  /// A complete frame of a blocked stream.
  void hold(stream_id stream, Frame frame) { waiting_[stream].push_back({std::move(frame), true}); }

  /// A frame that is being fetched now.
  held& fetch(stream_id stream, Frame frame) { return waiting_[stream].emplace_back(held{std::move(frame), false}); }

  /// `of` has been fetched: hands over, in order, what need not wait any longer.
  template <class HandOver>
  void fetched(stream_id stream, held& of, HandOver&& hand_over) {
    of.ready = true;
    const auto entry = waiting_.find(stream);
    auto& queue = entry->second;
    while (!queue.empty() && queue.front().ready) {
      hand_over(queue.front().frame);
      queue.pop_front();
    }
    if (queue.empty()) waiting_.erase(entry);
  }

  /// Every frame that waits here or is being fetched.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (auto& [stream, queue] : waiting_)
      for (auto& one : queue) visit(one.frame);
  }

 private:
  std::unordered_map<stream_id, std::deque<held>> waiting_;
};

} // namespace troupe::net
