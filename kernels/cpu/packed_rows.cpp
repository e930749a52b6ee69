// Activations in tile order: groups of 16 rows (fewer when there are fewer in all), each a run of tiles
// [rows of the group][32 inputs], so that a tile is contiguous and a step along the inputs is a step in memory.
#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/matrix.hpp"
#include "kernels/cpu/panel.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::kernels {

void packed_rows::resize(std::int64_t n, std::int64_t cols) {
  rows_ = n;
  cols_ = cols;
  tiles_ = ceil_div(cols, tile_inputs);
  element_bytes_ = bytes_of(activation_type(target_));
  group_height_ = std::min(n, group_rows);
  const auto padded = padded_rows(n);
  storage_.reserve(static_cast<std::size_t>(padded * tiles_ * tile_inputs) * element_bytes_);
  for (auto row = n; row < padded; ++row)
    for (std::int64_t tile = 0; tile < tiles_; ++tile) std::memset(at(row, tile), 0, tile_inputs * element_bytes_);
}

std::byte* packed_rows::at(std::int64_t row, std::int64_t tile) const {
  const auto group = row / group_rows;
  const auto tile_row = (group * tiles_ + tile) * group_height_ + row % group_rows;
  return storage_.data() + static_cast<std::size_t>(tile_row * tile_inputs) * element_bytes_;
}

void packed_rows::write(std::int64_t row, std::int64_t col, const float* values, std::int64_t count) {
  auto* to = at(row, col / tile_inputs);
  if (activation_type(target_) == tensor_type::bf16) {
    to_bf16(values, reinterpret_cast<std::uint16_t*>(to), count);
  } else if (target_.compute == compute_type::bfloat16) {
    round_floats(values, reinterpret_cast<float*>(to), count);
  } else {
    std::memcpy(to, values, count * sizeof(float));
  }
  std::memset(to + count * element_bytes_, 0, (tile_inputs - count) * element_bytes_);
}

void packed_rows::write_row(std::int64_t row, const float* values) {
  for (std::int64_t col = 0; col < cols_; col += tile_inputs)
    write(row, col, values + col, std::min(tile_inputs, cols_ - col));
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

void packed_rows::gather(const float* x, std::int64_t stride, std::span<const std::int32_t> rows, std::int64_t cols) {
  resize(static_cast<std::int64_t>(rows.size()), cols);
  for (std::size_t i = 0; i < rows.size(); ++i) write_row(static_cast<std::int64_t>(i), x + rows[i] * stride);
}

panel_args packed_rows::panel_input(std::int64_t first, std::int64_t n, std::int64_t tile) const {
  check(first % group_rows == 0, "a panel starts at a group of rows");
  const auto row_bytes = static_cast<std::int64_t>(tile_inputs * element_bytes_);
  panel_args args;
  args.x = at(first, tile);
  args.x_row_bytes = row_bytes;
  args.x_tile_bytes = group_height_ * row_bytes;
  args.x_group_bytes = args.x_tile_bytes * tiles_;
  args.rows = group_height_ < group_rows ? n : padded_rows(n);
  return args;
}

} // namespace troupe::kernels
