// Aligned allocation with transparent huge pages: weights are read front to back, and a 4 KB page every 64 lines would
// cost a TLB miss and stop the hardware prefetcher each time.
#include "kernels/cpu/memory.hpp"

#include "kernels/cpu/check.hpp"

#include <cstring>
#include <sys/mman.h>

namespace troupe::kernels {

buffer::buffer(std::size_t size) : size_(size) {
  if (size == 0) return;
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t alignment = size >= huge_page ? huge_page : 64;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  check(memory != nullptr, "out of memory");
  if (alignment == huge_page) madvise(memory, rounded, MADV_HUGEPAGE);
  std::memset(memory, 0, size);
  data_.reset(memory);
}

} // namespace troupe::kernels
