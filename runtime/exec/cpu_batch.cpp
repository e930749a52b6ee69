#include "runtime/exec/cpu_batch.hpp"

#include "runtime/core/invariant.hpp"

#include <algorithm>

namespace troupe::exec {

std::vector<sequence_rows> rows_of(std::span<const sequence_rows> batch, std::int64_t first, std::int64_t count) {
  std::vector<sequence_rows> out;
  for (const auto& s : batch) {
    const auto begin = std::clamp<std::int64_t>(first, 0, s.count);
    const auto end = std::clamp<std::int64_t>(first + count, 0, s.count);
    if (begin < end) out.push_back({s.first_position + begin, end - begin, s.pages});
    first -= s.count;
  }
  return out;
}

cpu_batch::cpu_batch(std::span<const sequence_rows> sequences, const kernels::rope& rotary, std::int64_t rope_dim)
    : pairs_(rope_dim / 2) {
  constexpr auto page_tokens = kernels::cache_page_tokens;
  for (const auto& s : sequences)
    for (const auto page : s.pages) pages_.push_back(static_cast<std::int32_t>(page.value));

  std::size_t first_page = 0;
  for (const auto& s : sequences) {
    const std::span own = std::span(pages_).subspan(first_page, s.pages.size());
    first_page += own.size();
    invariant((s.first_position + s.count + page_tokens - 1) / page_tokens <= static_cast<std::int64_t>(own.size()),
              "the pages of a sequence cover all its rows");
    sequences_.push_back({.first_row = rows(), .rows = s.count, .first_position = s.first_position, .pages = own});
    for (std::int64_t i = 0; i < s.count; ++i) {
      const auto position = s.first_position + i;
      places_.push_back({position, own[static_cast<std::size_t>(position / page_tokens)]});
    }
  }

  cos_.resize(static_cast<std::size_t>(rows() * pairs_));
  sin_.resize(cos_.size());
  for (std::int64_t row = 0; row < rows(); ++row)
    rotary.angles(position(row), cos_.data() + row * pairs_, sin_.data() + row * pairs_);
}

} // namespace troupe::exec
