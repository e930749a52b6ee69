#include "runtime/exec/device/batch_layout.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

constexpr std::int64_t page_tokens = limits::page_tokens;

std::int64_t pages_seen(const sequence_tokens& s) {
  return (s.first_position + static_cast<std::int64_t>(s.tokens.size()) + page_tokens - 1) / page_tokens;
}

} // namespace

batch_layout::batch_layout(std::span<const sequence_tokens> sequences, int wanted, int rope_pairs) : wanted(wanted) {
  std::int64_t pages = 1;
  for (const auto& s : sequences) {
    const auto count = static_cast<int>(s.tokens.size());
    chunks.push_back({rows, count, static_cast<int>(s.first_position) + count});
    rows += count;
    pages = std::max(pages, pages_seen(s));
  }
  table_pages = static_cast<int>((pages + table_pages_step - 1) / table_pages_step * table_pages_step);
  const auto take = [this](std::size_t count) {
    const auto at = words;
    words += (count + 3) / 4 * 4; // 16-byte boundaries
    return at;
  };
  const auto n = static_cast<std::size_t>(rows);
  ids = take(n), lengths = take(n), slots = take(n), sources = take(n);
  wanted_rows = take(static_cast<std::size_t>(wanted));
  cos = take(n * static_cast<std::size_t>(rope_pairs)), sin = take(n * static_cast<std::size_t>(rope_pairs));
  tables = take(n * static_cast<std::size_t>(table_pages));
}

void fill_batch(const batch_layout& layout, std::span<const sequence_tokens> sequences,
                std::span<const std::int32_t> wanted, int rope_pairs, const angles_of& angles, std::uint32_t* words) {
  const auto ints = [words](std::size_t at) { return reinterpret_cast<std::int32_t*>(words + at); };
  const auto floats = [words](std::size_t at) { return reinterpret_cast<float*>(words + at); };
  std::copy(wanted.begin(), wanted.end(), ints(layout.wanted_rows));
  std::size_t row = 0;
  for (const auto& s : sequences) {
    const auto pages = pages_seen(s);
    invariant(pages <= static_cast<std::int64_t>(s.pages.size()), "the pages of a sequence cover all its rows");
    for (std::size_t i = 0; i < s.tokens.size(); ++i, ++row) {
      const auto position = s.first_position + static_cast<std::int64_t>(i);
      const auto page = s.pages[static_cast<std::size_t>(position / page_tokens)].value;
      ints(layout.ids)[row] = s.tokens[i];
      ints(layout.lengths)[row] = static_cast<std::int32_t>(position + 1);
      ints(layout.slots)[row] = static_cast<std::int32_t>(page * page_tokens + position % page_tokens);
      ints(layout.sources)[row] = s.first_source + static_cast<std::int32_t>(i);
      angles(position, floats(layout.cos) + row * rope_pairs, floats(layout.sin) + row * rope_pairs);
      auto* table = ints(layout.tables) + row * layout.table_pages;
      for (std::int64_t p = 0; p < layout.table_pages; ++p)
        table[p] = p < pages ? static_cast<std::int32_t>(s.pages[static_cast<std::size_t>(p)].value) : 0;
    }
  }
}

device_batch::device_batch(const batch_layout& layout, const std::uint32_t* words)
    : rows(layout.rows), wanted(layout.wanted), table_pages(layout.table_pages), chunks(layout.chunks) {
  const auto ints = [words](std::size_t at) { return reinterpret_cast<const int*>(words + at); };
  const auto floats = [words](std::size_t at) { return reinterpret_cast<const float*>(words + at); };
  ids = ints(layout.ids), lengths = ints(layout.lengths), slots = ints(layout.slots), sources = ints(layout.sources);
  wanted_rows = ints(layout.wanted_rows);
  cos = floats(layout.cos), sin = floats(layout.sin), tables = ints(layout.tables);
}

device_batch device_batch::part(int first, int count, int rope_pairs) const {
  auto out = *this;
  out.rows = count, out.wanted = 0, out.wanted_rows = nullptr;
  out.ids += first, out.lengths += first, out.slots += first, out.sources += first;
  out.cos += static_cast<std::ptrdiff_t>(first) * rope_pairs,
      out.sin += static_cast<std::ptrdiff_t>(first) * rope_pairs;
  out.tables += static_cast<std::ptrdiff_t>(first) * table_pages;
  out.chunks.clear();
  for (const auto& chunk : chunks) {
    const int begin = std::max(chunk.first_row, first), end = std::min(chunk.first_row + chunk.rows, first + count);
    const int behind = chunk.first_row + chunk.rows - end; // its rows after this part
    if (begin < end) out.chunks.push_back({begin - first, end - begin, chunk.positions - behind});
  }
  return out;
}

} // namespace troupe::exec
