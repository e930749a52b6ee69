#include "runtime/core/segment.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/segment_pool.hpp"

#include <bit>
#include <cstring>

namespace troupe {

namespace {

/// Never destroyed: segments may outlive every other static.
segment_pool& pool() {
  static auto* const only = new segment_pool(limits::segment_pool_bytes_max, limits::segment_pool_returns_per_trim);
  return *only;
}

} // namespace

segment segment::allocate(std::size_t size) {
  if (size == 0) return {};
  const auto capacity = std::bit_ceil(size < segment_pool::alignment ? segment_pool::alignment : size);
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
