// The rows of one pass through the layers: whose they are, where they stand, and their rotary angles.
#pragma once

#include "kernels/cpu/mla_attention.hpp"
#include "kernels/cpu/rope.hpp"
#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::exec {

/// Consecutive rows of one sequence. `pages` must cover them.
struct sequence_rows {
  std::int64_t first_position = 0;
  std::int64_t count = 0;
  std::span<const page_id> pages;
};

/// What `count` rows from row `first` of a batch are.
std::vector<sequence_rows> rows_of(std::span<const sequence_rows> batch, std::int64_t first, std::int64_t count);

class cpu_batch {
 public:
  cpu_batch(std::span<const sequence_rows> sequences, const kernels::rope& rotary, std::int64_t rope_dim);

  std::int64_t rows() const { return static_cast<std::int64_t>(places_.size()); }
  std::span<const kernels::mla_sequence> sequences() const { return sequences_; }
  std::int64_t position(std::int64_t row) const { return places_[static_cast<std::size_t>(row)].position; }
  std::int64_t page(std::int64_t row) const { return places_[static_cast<std::size_t>(row)].page; }
  /// rope_dim / 2 cosines and sines of the row's position.
  const float* cos(std::int64_t row) const { return cos_.data() + row * pairs_; }
  const float* sin(std::int64_t row) const { return sin_.data() + row * pairs_; }

 private:
  struct place {
    std::int64_t position;
    std::int64_t page;
  };

  std::int64_t pairs_;
  std::vector<std::int32_t> pages_; // of all sequences, one after the other
  std::vector<kernels::mla_sequence> sequences_;
  std::vector<place> places_;
  std::vector<float> cos_, sin_;
};

} // namespace troupe::exec
