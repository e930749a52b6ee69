#include "runtime/exec/device/mapped_layout.hpp"

#include "runtime/core/limits.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace troupe::exec {

bool mapped_layout::fits() const { return std::max(rows_bytes, output_bytes) <= limits::device_segment_bytes_max; }

result<void> check_mapped_batch(const mapped_batch& batch, std::int32_t hidden_size, std::int32_t choices_per_row,
                                std::span<const std::int32_t> layer_slots) {
  const auto bad = [](std::string why) { return error{errc::bad_input, "mapped batch: " + std::move(why)}; };
  if (batch.hidden_size != hidden_size) return bad("hidden size " + std::to_string(batch.hidden_size));
  if (batch.experts_per_row != choices_per_row) return bad(std::to_string(batch.experts_per_row) + " experts a row");
  if (batch.layer < 0 || batch.layer >= std::ssize(layer_slots) ||
      layer_slots[static_cast<std::size_t>(batch.layer)] < 0)
    return bad("layer " + std::to_string(batch.layer) + " has no experts");
  if (batch.row_count < 1) return bad(std::to_string(batch.row_count) + " rows");
  const mapped_layout layout(static_cast<std::size_t>(batch.row_count), static_cast<std::size_t>(hidden_size),
                             static_cast<std::size_t>(choices_per_row));
  if (!layout.fits()) return error{errc::overloaded, "mapped batch: " + std::to_string(batch.row_count) + " rows"};
  if (layout.rows_bytes > batch.rows.size) return bad("its rows end beyond their segment");
  return {};
}

} // namespace troupe::exec
