#include "runtime/core/segment_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

namespace troupe {

namespace {

/// From here on memory comes from the kernel and goes back there at once: glibc would put large blocks that come and go
/// into its arenas, where those that stay keep the holes of the others resident.
constexpr std::size_t mapped_from = 128 << 10;

std::byte* new_block(std::size_t capacity) {
  if (capacity >= mapped_from) {
    void* const memory = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(segment_pool::alignment, capacity));
  if (!memory) throw std::bad_alloc();
  return memory;
}

void free_block(std::byte* memory, std::size_t capacity) {
  if (capacity >= mapped_from)
    ::munmap(memory, capacity);
  else
    std::free(memory);
}

std::size_t list_of(std::size_t capacity) { return static_cast<std::size_t>(std::countr_zero(capacity)); }
std::size_t capacity_of(std::size_t list) { return std::size_t{1} << list; }

} // namespace

segment_pool::~segment_pool() {
  for (std::size_t i = 0; i < lists_.size(); ++i)
    for (auto* const memory : lists_[i].blocks) free_block(memory, capacity_of(i));
}

std::byte* segment_pool::take(std::size_t capacity) {
  {
    const std::lock_guard lock(mutex_);
    auto& list = lists_[list_of(capacity)];
    if (!list.blocks.empty()) {
      auto* const memory = list.blocks.back();
      list.blocks.pop_back();
      list.unused = std::min(list.unused, list.blocks.size());
      held_ -= capacity;
      return memory;
    }
  }
  return new_block(capacity);
}

void segment_pool::give_back(std::byte* memory, std::size_t capacity) {
  freed out; // outside of the lock
  {
    const std::lock_guard lock(mutex_);
    if (held_ + capacity <= most_) {
      lists_[list_of(capacity)].blocks.push_back(memory);
      held_ += capacity;
    } else {
      out.push_back({memory, capacity});
    }
    if (++returns_ >= returns_per_trim_) trim(out);
  }
  for (const auto& [block, size] : out) free_block(block, size);
}

/// Halves, so that one quiet period between two busy ones costs only a part of the page faults.
void segment_pool::trim(freed& out) {
  returns_ = 0;
  for (std::size_t i = 0; i < lists_.size(); ++i) {
    auto& [blocks, unused] = lists_[i];
    for (auto n = (unused + 1) / 2; n > 0; --n) {
      out.push_back({blocks.back(), capacity_of(i)});
      blocks.pop_back();
      held_ -= capacity_of(i);
    }
    unused = blocks.size();
  }
}

void segment_pool::discard(std::byte* memory, std::size_t capacity) { ::madvise(memory, capacity, MADV_DONTNEED); }

std::size_t segment_pool::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

} // namespace troupe
