// How many rows the steps of a kv_cache have had, for /metrics: the histogram that vLLM calls iteration_tokens_total.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe {

struct step_histogram {
  static constexpr std::array<std::int32_t, 13> bounds{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

  /// [bounds + 1] steps[i] had at most bounds[i] rows and more than the bound before; the last had more than all.
  std::vector<std::uint64_t> steps = std::vector<std::uint64_t>(bounds.size() + 1);
  std::uint64_t rows = 0; ///< of all steps

  void add(std::int32_t step_rows) {
    const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), step_rows) - bounds.begin();
    ++steps[static_cast<std::size_t>(bucket)];
    rows += static_cast<std::uint64_t>(step_rows);
  }
};

} // namespace troupe
