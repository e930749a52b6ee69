// Memory of segments between two uses: one free list a power of two. What nobody needed for a while goes back to the
// system, so that a process holds what its traffic needs now and not the sum of every peak it ever had.
// Invariant: at most `most` bytes lie in the lists.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace troupe {

/// Thread-safe. Capacities are powers of two, at least `alignment`.
class segment_pool {
 public:
  static constexpr std::size_t alignment = 4096;

  /// Every `returns_per_trim` returns, half of what lay unused since the last time is freed.
  segment_pool(std::size_t most, std::size_t returns_per_trim) : most_(most), returns_per_trim_(returns_per_trim) {}
  segment_pool(const segment_pool&) = delete;
  segment_pool& operator=(const segment_pool&) = delete;
  ~segment_pool();

  /// `capacity` bytes of any content. Throws std::bad_alloc.
  std::byte* take(std::size_t capacity);
  void give_back(std::byte* memory, std::size_t capacity);
  std::size_t held_bytes() const;
  /// The block stays where it is, as zeros: for memory that something may still write to, and nobody reads any more.
  static void discard(std::byte* memory, std::size_t capacity);

 private:
  struct free_list {
    std::vector<std::byte*> blocks;
    std::size_t unused = 0; ///< the fewest blocks since the last trim: so many were never needed
  };
  using freed = std::vector<std::pair<std::byte*, std::size_t>>; ///< with their capacities

  void trim(freed& out);

  const std::size_t most_;
  const std::size_t returns_per_trim_;
  mutable std::mutex mutex_;
  std::array<free_list, 64> lists_;
  std::size_t held_ = 0;
  std::size_t returns_ = 0; ///< since the last trim
};

} // namespace troupe
