#include "runtime/core/segment.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/segment_pool.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace troupe {

namespace {

/// Never destroyed: segments may outlive every other static.
segment_pool& pool() {
  static auto* const only = new segment_pool(limits::segment_pool_bytes_max, limits::segment_pool_returns_per_trim);
  return *only;
}

std::size_t capacity_of(std::size_t size) { return std::bit_ceil(std::max(size, segment_pool::alignment)); }

} // namespace

segment segment::allocate(std::size_t size) {
  if (size == 0) return {};
  const auto capacity = capacity_of(size);
  return {std::shared_ptr<std::byte>(pool().take(capacity),
                                     [capacity](std::byte* memory) { pool().give_back(memory, capacity); }),
          size};
}

void segment::discard() const {
  if (!empty()) segment_pool::discard(memory_.get(), capacity_of(size_));
}

segment segment::copy_of(std::span<const std::byte> bytes) {
  auto out = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(out.writable().data(), bytes.data(), bytes.size());
  return out;
}

} // namespace troupe
