// The pool: one free list a power of two, bounded by limits::segment_pool_bytes_max.
#include "runtime/core/segment.hpp"

#include "runtime/core/limits.hpp"

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace troupe {

namespace {

constexpr std::size_t alignment = 4096;

class segment_pool {
 public:
  std::byte* take(std::size_t capacity) {
    {
      const std::lock_guard lock(mutex_);
      auto& list = free_[list_of(capacity)];
      if (!list.empty()) {
        auto* const memory = list.back();
        list.pop_back();
        held_ -= capacity;
        return memory;
      }
    }
    auto* const memory = static_cast<std::byte*>(std::aligned_alloc(alignment, capacity));
    if (!memory) throw std::bad_alloc();
    return memory;
  }

  void give_back(std::byte* memory, std::size_t capacity) {
    {
      const std::lock_guard lock(mutex_);
      if (held_ + capacity <= limits::segment_pool_bytes_max) {
        free_[list_of(capacity)].push_back(memory);
        held_ += capacity;
        return;
      }
    }
    std::free(memory);
  }

 private:
  static std::size_t list_of(std::size_t capacity) { return static_cast<std::size_t>(std::countr_zero(capacity)); }

  std::mutex mutex_;
  std::array<std::vector<std::byte*>, 64> free_;
  std::size_t held_ = 0; ///< bytes in the lists
};

/// Never destroyed: segments may outlive every other static.
segment_pool& pool() {
  static auto* const only = new segment_pool;
  return *only;
}

} // namespace

segment segment::allocate(std::size_t size) {
  if (size == 0) return {};
  const auto capacity = std::bit_ceil(size < alignment ? alignment : size);
  return {std::shared_ptr<std::byte>(pool().take(capacity),
                                     [capacity](std::byte* memory) { pool().give_back(memory, capacity); }),
          size};
}

segment segment::copy_of(std::span<const std::byte> bytes) {
  auto out = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(out.writable().data(), bytes.data(), bytes.size());
  return out;
}

} // namespace troupe
