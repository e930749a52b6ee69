// The pages of one device's latent cache: who is free and who is taken. The bytes belong to the engine.
// Invariant: a page is either on the free list or with exactly one owner; giving back a free page stops the process.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace troupe::kv {

class page_pool {
 public:
  explicit page_pool(std::int32_t page_count);

  /// The page given back last, or nothing when all are taken.
  std::optional<page_id> take();
  void give_back(page_id page);

  std::int32_t page_count() const { return static_cast<std::int32_t>(taken_.size()); }
  std::int32_t free_pages() const { return static_cast<std::int32_t>(free_.size()); }
  std::int32_t used_pages() const { return page_count() - free_pages(); }
  /// used / all, 0 for an empty pool.
  double usage() const;

 private:
  std::vector<page_id> free_; // a stack: a page used a moment ago is still in the CPU's cache
  std::vector<bool> taken_;
};

} // namespace troupe::kv
