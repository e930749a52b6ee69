#include "runtime/kv/page_table.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

namespace troupe::kv {

std::int32_t pages_for(std::int64_t position_count) {
  return static_cast<std::int32_t>((position_count + limits::page_tokens - 1) / limits::page_tokens);
}

page_table::~page_table() { invariant(pages_.empty(), "page_table: destroyed while it holds pages"); }

bool page_table::cover(std::int64_t position_count, page_pool& pool) {
  const auto wanted = static_cast<std::size_t>(pages_for(position_count));
  if (wanted > pages_.size() + static_cast<std::size_t>(pool.free_pages())) return false;
  while (pages_.size() < wanted) pages_.push_back(*pool.take());
  return true;
}

void page_table::release(page_pool& pool) {
  for (; !pages_.empty(); pages_.pop_back()) pool.give_back(pages_.back());
}

} // namespace troupe::kv
