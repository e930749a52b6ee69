// Activations in tile order: groups of 16 rows (fewer when there are fewer in all), each a run of tiles
// [rows of the group][32 inputs], so that a tile is contiguous and a step along the inputs is a step in memory.
#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/matrix.hpp"
#include "kernels/cpu/panel.hpp"
#include "kernels/cpu/row_kernels.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::kernels {

void packed_rows::resize(std::int64_t n, std::int64_t cols) {
  rows_ = n;
  cols_ = cols;
  tiles_ = ceil_div(cols, tile_inputs);
  group_height_ = std::min(n, group_rows);
  const auto padded = padded_rows(n), tile_row = static_cast<std::int64_t>(tile_inputs * bytes_of(stored_));
  storage_.reserve(static_cast<std::size_t>(padded * tiles_ * tile_row));
  for (auto row = n; row < padded; ++row)
    for (std::int64_t tile = 0; tile < tiles_; ++tile) std::memset(at(row, tile), 0, tile_row);
}

std::byte* packed_rows::at(std::int64_t row, std::int64_t tile) const {
  const auto group = row / group_rows;
  const auto tile_row = (group * tiles_ + tile) * group_height_ + row % group_rows;
  return storage_.data() + static_cast<std::size_t>(tile_row * tile_inputs) * bytes_of(stored_);
}

/// Rounds as the kernels of this target expect.
void packed_rows::store(const float* values, std::byte* to, std::int64_t count) const {
  if (stored_ == tensor_type::bf16) {
    to_bf16(values, reinterpret_cast<std::uint16_t*>(to), count);
  } else if (target_.compute == compute_type::bfloat16) {
    round_floats(values, reinterpret_cast<float*>(to), count);
  } else {
    std::memcpy(to, values, count * sizeof(float));
  }
}

void packed_rows::write_row(std::int64_t row, const float* values) {
  const auto whole = cols_ / tile_inputs, rest = cols_ % tile_inputs;
  if (stored_ == tensor_type::bf16) {
    row_kernels_here().to_bf16_tiles(values, whole, at(row, 0), tile_bytes());
  } else {
    for (std::int64_t t = 0; t < whole; ++t) store(values + t * tile_inputs, at(row, t), tile_inputs);
  }
  if (rest == 0) return;
  float last[tile_inputs]{};
  std::copy_n(values + whole * tile_inputs, rest, last);
  store(last, at(row, whole), tile_inputs);
}

/// bf16 values are exact in every form.
void packed_rows::copy_row(std::int64_t row, const std::uint16_t* values) {
  const auto copy = [this](const std::uint16_t* from, std::byte* to) {
    if (stored_ == tensor_type::bf16) {
      std::memcpy(to, from, tile_inputs * sizeof(std::uint16_t));
    } else {
      from_bf16(from, reinterpret_cast<float*>(to), tile_inputs);
    }
  };
  const auto whole = cols_ / tile_inputs, rest = cols_ % tile_inputs, step = tile_bytes();
  auto* to = at(row, 0);
  for (std::int64_t tile = 0; tile < whole; ++tile, values += tile_inputs, to += step) copy(values, to);
  if (rest == 0) return;
  std::uint16_t last[tile_inputs]{};
  std::copy_n(values, rest, last);
  copy(last, to);
}

/// A tile of a group is contiguous.
void packed_rows::write_tile(std::int64_t first, std::int64_t n, std::int64_t tile, const float* values) {
  for (std::int64_t r = 0; r < n; r += group_rows)
    store(values + r * tile_inputs, at(first + r, tile), std::min(group_rows, n - r) * tile_inputs);
}

void packed_rows::assign(thread_pool& pool, const float* x, std::int64_t stride, std::int64_t n, std::int64_t cols) {
  if (n < group_rows) return assign(x, stride, n, cols);
  resize(n, cols);
  pool.parallel_for(n, [&](std::int64_t row) { write_row(row, x + row * stride); });
}

void packed_rows::assign(const float* x, std::int64_t stride, std::int64_t n, std::int64_t cols) {
  resize(n, cols);
  for (std::int64_t row = 0; row < n; ++row) write_row(row, x + row * stride);
}

void packed_rows::gather(const row_view& x, std::span<const std::int32_t> rows, std::int64_t cols) {
  resize(static_cast<std::int64_t>(rows.size()), cols);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto* from = x.row(rows[i]);
    if (x.type == tensor_type::bf16) {
      copy_row(static_cast<std::int64_t>(i), reinterpret_cast<const std::uint16_t*>(from));
    } else {
      write_row(static_cast<std::int64_t>(i), reinterpret_cast<const float*>(from));
    }
  }
}

panel_args packed_rows::panel_input(std::int64_t first, std::int64_t n, std::int64_t tile) const {
  check(first % group_rows == 0, "a panel starts at a group of rows");
  const auto row_bytes = static_cast<std::int64_t>(tile_inputs * bytes_of(stored_));
  panel_args args;
  args.x = at(first, tile);
  args.x_row_bytes = row_bytes;
  args.x_tile_bytes = group_height_ * row_bytes;
  args.x_group_bytes = args.x_tile_bytes * tiles_;
  args.rows = group_height_ < group_rows ? n : padded_rows(n);
  return args;
}

} // namespace troupe::kernels
