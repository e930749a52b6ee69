#include "runtime/kv/page_pool.hpp"

#include "runtime/core/invariant.hpp"

namespace troupe::kv {

page_pool::page_pool(std::int32_t page_count) {
  invariant(page_count >= 0, "a page pool cannot have a negative number of pages");
  taken_.resize(static_cast<std::size_t>(page_count), false);
  for (auto i = page_count; i-- > 0;) free_.emplace_back(static_cast<std::uint32_t>(i));
}

std::optional<page_id> page_pool::take() {
  if (free_.empty()) return std::nullopt;
  const auto page = free_.back();
  free_.pop_back();
  taken_[page.value] = true;
  return page;
}

void page_pool::give_back(page_id page) {
  invariant(page.value < taken_.size(), "page_pool: this page belongs to another pool");
  invariant(taken_[page.value], "page_pool: this page is free already");
  taken_[page.value] = false;
  free_.push_back(page);
}

double page_pool::usage() const { return taken_.empty() ? 0.0 : static_cast<double>(used_pages()) / page_count(); }

} // namespace troupe::kv
