// Which pages hold the positions of one sequence: page i holds positions [64 i, 64 i + 64).
// Invariant: a table that still holds pages is never destroyed; its owner releases it into the pool they came from.
#pragma once

#include "runtime/kv/page_pool.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kv {

/// Pages that `position_count` positions need.
std::int32_t pages_for(std::int64_t position_count);

class page_table {
 public:
  page_table() = default;
  page_table(const page_table&) = delete;
  page_table& operator=(const page_table&) = delete;
  ~page_table();

  /// Grows until `position_count` positions are covered. All or nothing: false leaves table and pool as they were.
  bool cover(std::int64_t position_count, page_pool& pool);
  /// Gives every page back.
  void release(page_pool& pool);

  std::span<const page_id> pages() const { return pages_; }

 private:
  std::vector<page_id> pages_;
};

} // namespace troupe::kv
