// Where things lie in the memory of a mapped_batch and of its outputs.
#pragma once

#include "runtime/exec/expert_client.hpp"

#include <cstddef>
#include <span>

namespace troupe::exec {

/// Bytes. Both parts of the rows begin at multiples of 16, since rows have a multiple of 8 values.
struct mapped_layout {
  std::size_t chosen_at = 0;    ///< behind the rows
  std::size_t rows_bytes = 0;   ///< rows and choices
  std::size_t output_bytes = 0; ///< of one segment of outputs

  mapped_layout(std::size_t rows, std::size_t hidden, std::size_t choices_per_row)
      : chosen_at(rows * hidden * 2), rows_bytes(chosen_at + rows * choices_per_row * sizeof(std::int32_t)),
        output_bytes(rows * choices_per_row * hidden * 2) {}

  /// Whether a step of this size stays in device memory.
  bool fits() const;
};

/// Errors: bad_input for a layer without experts (`layer_slots` as in check_expert_batch) or sizes that do not fit,
/// overloaded above limits::device_segment_bytes_max.
result<void> check_mapped_batch(const mapped_batch& batch, std::int32_t hidden_size, std::int32_t choices_per_row,
                                std::span<const std::int32_t> layer_slots);

} // namespace troupe::exec
