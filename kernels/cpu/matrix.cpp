// Math      y[r, o] = sum_k x[r, k] W[o, k];  FP8: sum over blocks b of 128 inputs of scale[o/128, b] * (sum in b)
// Shapes    x [n, cols] f32 -> packed_rows;  W [rows, cols] f32, bf16 or e4m3 -> tiles of 32 x 32;  y [n, rows] f32
// Roofline  n small: rows * cols * bytes(W) read once, at the STREAM figure of the same cores; n large: 2 n rows cols
//           flop at the matrix unit's peak (AMX 1024 flop a cycle and core, vdpbf16ps 32-64, fp32 FMA 64)
// Mapping   few rows: a task is one block of 32 outputs, sums in registers over all inputs; many: 512 rows by up to 8
//           blocks, in slices of 256 inputs: weights of a slice stay in L1, rows of a slice and all sums in L2
// Measured  see the panel files and kernels/README.md
#include "kernels/cpu/matrix.hpp"

#include "kernels/cpu/check.hpp"
#include "kernels/cpu/panel.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace troupe::kernels {
namespace {

constexpr std::int64_t slice_tiles = tiles_per_scale_max; // 256 inputs x 32 outputs of bf16: 16 KB of L1
constexpr std::int64_t rows_per_task = 512;               // with 256 inputs: 256 KB of bf16
constexpr std::int64_t blocks_per_task = 8;               // their sums: 512 KB

template <class T>
T load_unaligned(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16, exponent = bits >> 10 & 31u, mantissa = bits & 1023u;
  if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * static_cast<float>(mantissa);
  const std::uint32_t biased = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | biased << 23 | mantissa << 13);
}

/// A look-up: the branches of random codes are what a load would wait for.
constexpr auto f8_values = [] {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < values.size(); ++code)
    values[code] = f8_e4m3_to_float(static_cast<std::uint8_t>(code));
  return values;
}();

float element(tensor_type type, const std::byte* data, std::int64_t index) {
  switch (type) {
  case tensor_type::f32: return load_unaligned<float>(data + index * 4);
  case tensor_type::bf16: return bf16_to_float(load_unaligned<std::uint16_t>(data + index * 2));
  case tensor_type::f16: return f16_to_float(load_unaligned<std::uint16_t>(data + index * 2));
  case tensor_type::f8_e4m3: return f8_values[std::to_integer<std::uint8_t>(data[index])];
  }
  return 0;
}

float scale_of(const weight_view& w, std::int64_t row, std::int64_t col) {
  if (!w.scales) return 1;
  const auto per_row = ceil_div(w.cols, w.block_cols);
  return load_unaligned<float>(w.scales + (row / w.block_rows * per_row + col / w.block_cols) * 4);
}

/// FP8 stays FP8 if every tile has one scale; everything else becomes what the kernels of `t` read.
tensor_type stored_type(const weight_view& w, target t) {
  if (w.type == tensor_type::f8_e4m3) {
    const bool fits = !w.scales || (w.block_rows % tile_outputs == 0 && w.block_cols % tile_inputs == 0 &&
                                    tiles_per_scale_max % (w.block_cols / tile_inputs) == 0);
    if (fits) return tensor_type::f8_e4m3;
  }
  if (t.compute == compute_type::bfloat16 || w.type == tensor_type::bf16) return tensor_type::bf16;
  return tensor_type::f32;
}

using offset_table = std::array<std::array<std::uint16_t, tile_inputs>, tile_outputs>;

offset_table offsets_of(tensor_type stored) {
  offset_table table;
  for (std::int64_t o = 0; o < tile_outputs; ++o)
    for (std::int64_t k = 0; k < tile_inputs; ++k)
      table[o][k] = static_cast<std::uint16_t>(offset_in_tile(stored, k, o));
  return table;
}

void store_element(tensor_type stored, float value, std::byte* to) {
  if (stored == tensor_type::f32) {
    std::memcpy(to, &value, 4);
  } else {
    const auto bits = float_to_bf16(value);
    std::memcpy(to, &bits, 2);
  }
}

using tile_offsets = std::array<std::uint16_t, tile_inputs>; ///< of the inputs of one output

template <std::size_t Size>
void copy_elements(const std::byte* from, std::int64_t count, const tile_offsets& offsets, std::byte* tile) {
  for (std::int64_t k = 0; k < count; ++k) std::memcpy(tile + offsets[k], from + k * Size, Size);
}

/// Copies `count` inputs of one output row into a tile.
void pack_row(const weight_view& w, std::int64_t row, std::int64_t col, std::int64_t count, tensor_type stored,
              const tile_offsets& offsets, std::byte* tile) {
  const auto* from = w.data + (row * w.cols + col) * static_cast<std::int64_t>(bytes_of(w.type));
  if (stored == w.type) {
    const auto copy = stored == tensor_type::f8_e4m3 ? copy_elements<1>
                      : stored == tensor_type::bf16  ? copy_elements<2>
                                                     : copy_elements<4>;
    return copy(from, count, offsets, tile);
  }
  for (std::int64_t k = 0; k < count; ++k)
    store_element(stored, element(w.type, from, k) * scale_of(w, row, col + k), tile + offsets[k]);
}

} // namespace

void dequantize_row(const weight_view& w, std::int64_t row, float* out) {
  const auto block = w.scales ? w.block_cols : w.cols;
  for (std::int64_t first = 0; first < w.cols; first += block) {
    const float scale = scale_of(w, row, first);
    for (auto col = first; col < std::min(first + block, w.cols); ++col)
      out[col] = element(w.type, w.data, row * w.cols + col) * scale;
  }
}

matrix::matrix(const weight_view& w, target t)
    : target_(t), stored_(stored_type(w, t)), rows_(w.rows), cols_(w.cols), blocks_(ceil_div(w.rows, tile_outputs)),
      tiles_(ceil_div(w.cols, tile_inputs)), tile_bytes_(tile_bytes_of(stored_)) {
  check(supported(t.set), "weights packed for an instruction set this machine lacks");
  storage_ = buffer::for_weights(static_cast<std::size_t>(blocks_ * tiles_ * tile_bytes_));
  const auto offsets = offsets_of(stored_);
  for (std::int64_t row = 0; row < rows_; ++row)
    for (std::int64_t tile = 0; tile < tiles_; ++tile) {
      const auto col = tile * tile_inputs;
      pack_row(w, row, col, std::min(tile_inputs, cols_ - col), stored_, offsets[row % tile_outputs],
               storage_.data() + (row / tile_outputs * tiles_ + tile) * tile_bytes_);
    }
  if (stored_ != tensor_type::f8_e4m3 || !w.scales) return;
  tiles_per_scale_ = w.block_cols / tile_inputs;
  for (std::int64_t block = 0; block < blocks_; ++block)
    for (std::int64_t col = 0; col < cols_; col += w.block_cols)
      scales_.push_back(scale_of(w, block * tile_outputs, col));
}

void matrix::multiply_slice(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block,
                            std::int64_t tile, std::int64_t tiles, const std::byte* next, float* acc) const {
  panel_args args = x.panel_input(first, n, tile);
  args.weights = weights_at(block, tile);
  args.next = next;
  args.tiles = tiles;
  if (tiles_per_scale_) {
    args.scales = scales_.data() + block * ceil_div(tiles_, tiles_per_scale_) + tile / tiles_per_scale_;
    args.tiles_per_scale = tiles_per_scale_;
  }
  args.acc = acc;
  args.fresh = tile == 0;
  panel_for(target_, stored_)(args);
}

void matrix::multiply_block(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block,
                            float* acc) const {
  multiply_blocks(x, first, n, block, 1, acc);
}

void matrix::multiply_blocks(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block,
                             std::int64_t count, float* acc) const {
  const auto acc_floats = padded_rows(n) * tile_outputs;
  // Few rows: sums stay in registers over all inputs. Many: a slice of weights stays in L1 while the rows pass, and a
  // slice of the rows stays in L2 while the blocks pass.
  const auto slice = n <= 2 * group_rows ? tiles_ : slice_tiles;
  for (std::int64_t tile = 0; tile < tiles_; tile += slice)
    for (std::int64_t b = 0; b < count; ++b) {
      const auto* next = b + 1 < count           ? weights_at(block + b + 1, tile)
                         : tile + slice < tiles_ ? weights_at(block, tile + slice)
                                                 : weights_at(block + count, 0); // at worst one past the end
      multiply_slice(x, first, n, block + b, tile, std::min(slice, tiles_ - tile), next, acc + b * acc_floats);
    }
}

void matrix::multiply(thread_pool& pool, const packed_rows& x, float* y, std::int64_t y_stride) const {
  check(x.cols() == cols_ && activation_type(x.packed_for()) == activation_type(target_), "input does not fit weights");
  const auto n = x.rows(), chunks = ceil_div(n, rows_per_task);
  const auto count =
      n <= 2 * group_rows ? 1 : std::clamp<std::int64_t>(blocks_ * chunks / (4 * pool.size()), 1, blocks_per_task);
  const auto groups = ceil_div(blocks_, count);
  pool.parallel_for(chunks * groups, [&](std::int64_t task) {
    const auto first = task / groups * rows_per_task, block = task % groups * count;
    const auto rows = std::min(rows_per_task, n - first), blocks = std::min(count, blocks_ - block);
    const auto acc_floats = padded_rows(rows) * tile_outputs;
    auto* acc = thread_scratch<float>(static_cast<std::size_t>(blocks * acc_floats), 0);
    multiply_blocks(x, first, rows, block, blocks, acc);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto out = (block + b) * tile_outputs;
      copy_sums(acc + b * acc_floats, rows, std::min(tile_outputs, rows_ - out), y + first * y_stride + out, y_stride);
    }
  });
}

void matrix::multiply(thread_pool& pool, const float* x, std::int64_t x_stride, std::int64_t n, float* y,
                      std::int64_t y_stride) const {
  packed_rows packed(target_);
  packed.assign(pool, x, x_stride, n, cols_);
  multiply(pool, packed, y, y_stride);
}

} // namespace troupe::kernels
