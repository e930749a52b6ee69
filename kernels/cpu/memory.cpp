// Aligned allocation with transparent huge pages: weights are read front to back, and a 4 KB page every 64 lines would
// cost a TLB miss and stop the hardware prefetcher each time (experts of 1 MB: 8 -> 12 GB/s).
#include "kernels/cpu/memory.hpp"

#include "kernels/cpu/check.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>

namespace troupe::kernels {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t chunk_bytes = 16 * huge_page; // at most this much stays behind when a neighbour lives on
constexpr std::size_t line = 64;

std::size_t round_to(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

std::shared_ptr<std::byte> allocate(std::size_t size) {
  const auto alignment = size >= huge_page ? huge_page : line;
  const auto rounded = round_to(size, alignment);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  check(memory != nullptr, "out of memory");
  if (alignment == huge_page) madvise(memory, rounded, MADV_HUGEPAGE);
  return {memory, [](std::byte* p) { std::free(p); }};
}

/// The chunk that small matrices are cut from, front to back.
struct weight_arena {
  std::mutex lock;
  std::weak_ptr<std::byte> chunk;
  std::size_t used = 0;
};

} // namespace

buffer::buffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  data_ = allocate(size);
  std::memset(data_.get(), 0, size);
}

buffer buffer::for_weights(std::size_t size) {
  if (size == 0 || size > chunk_bytes / 4) return buffer(size);
  static weight_arena arena;
  std::shared_ptr<std::byte> data;
  {
    const std::lock_guard hold(arena.lock);
    auto chunk = arena.chunk.lock();
    if (!chunk || arena.used + size > chunk_bytes) {
      chunk = allocate(chunk_bytes);
      arena.chunk = chunk;
      arena.used = 0;
    }
    data = {chunk, chunk.get() + arena.used};
    arena.used += round_to(size, line);
  }
  std::memset(data.get(), 0, size);
  return {std::move(data), size};
}

} // namespace troupe::kernels
