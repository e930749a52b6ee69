// What an engine keeps for device memory that other processes export: one entry a buffer (owner and place), until its
// process has ended. Bounded by limits::device_segments_max; entries of living processes are never dropped, since one
// of them may still be read.
#pragma once

#include "runtime/core/device_segment.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace troupe::exec {

/// Whether a process of this host exists. A zombie does, and so does a stranger that was given the number of one that
/// ended: what is kept for it then stays for longer.
bool is_alive(std::int64_t pid);

/// Used by one thread at a time. A `T` is made without arguments.
template <class T>
class peer_table {
 public:
  explicit peer_table(std::function<bool(std::int64_t pid)> lives = is_alive) : lives_(std::move(lives)) {}

  /// The entry for the buffer of `s`; a new one first drops those of processes that have ended. Null when there are too
  /// many.
  T* find(const device_segment& s) {
    const std::pair key{s.owner, s.place};
    if (const auto known = entries_.find(key); known != entries_.end()) return &known->second.value;
    std::erase_if(entries_, [this](const auto& e) { return !lives_(e.second.pid); });
    if (entries_.size() >= limits::device_segments_max) return nullptr;
    auto& added = entries_[key];
    added.pid = s.pid;
    return &added.value;
  }
  std::size_t size() const { return entries_.size(); }

 private:
  struct entry {
    std::int64_t pid = 0;
    T value;
  };
  std::function<bool(std::int64_t)> lives_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, entry> entries_; ///< by owner and place
};

/// One buffer of another process as it is mapped here. `Driver` is the device library: static open(segment), which
/// gives result<std::byte*>, and close(std::byte*).
template <class Driver>
class mapped_segment {
 public:
  mapped_segment() = default;
  mapped_segment(const mapped_segment&) = delete;
  mapped_segment& operator=(const mapped_segment&) = delete;
  ~mapped_segment() { close(); }

  /// Where `s` begins here; maps it when it is new or has moved. Nothing that was started before reads the old mapping
  /// any more. Errors: bad_input for a generation that was left behind, else the driver's.
  result<std::byte*> follow(const device_segment& s) {
    if (begin_ && s.generation == generation_) return begin_;
    if (begin_ && s.generation < generation_) return error{errc::bad_input, "a device segment that has moved since"};
    close();
    TROUPE_ASSIGN(begin_, Driver::open(s));
    generation_ = s.generation;
    return begin_;
  }

 private:
  void close() {
    if (auto* const begin = std::exchange(begin_, nullptr)) Driver::close(begin);
  }

  std::byte* begin_ = nullptr;
  std::uint32_t generation_ = 0;
};

} // namespace troupe::exec
