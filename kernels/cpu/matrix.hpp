// y = x Wᵀ with W packed once at load: FP8 and BF16 weights keep their size in memory.
// The bits of y[r, o] depend on row r of x and on W only: not on other rows, their number, threads or task split.
#pragma once

#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/memory.hpp"
#include "kernels/cpu/panel.hpp"
#include "kernels/cpu/thread_pool.hpp"
#include "kernels/tensor_type.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kernels {

/// A checkpoint tensor [rows = out, cols = in], row-major; nothing is aligned. FP8 has one f32 scale for each
/// `block_rows` x `block_cols` block, themselves row-major [ceil(rows/block_rows), ceil(cols/block_cols)].
struct weight_view {
  tensor_type type = tensor_type::f32;
  const std::byte* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* scales = nullptr; ///< f32, may be null: all one
  std::int64_t block_rows = 128;
  std::int64_t block_cols = 128;
};

/// Row `row` of `w` as fp32, scales applied: an embedding lookup. `out` holds w.cols floats.
void dequantize_row(const weight_view& w, std::int64_t row, float* out);

/// Rows of fp32 or bf16 values, `stride` elements apart; need not be aligned to more than an element.
struct row_view {
  const std::byte* data = nullptr;
  tensor_type type = tensor_type::f32;
  std::int64_t stride = 0;

  static row_view of(const float* x, std::int64_t stride) {
    return {reinterpret_cast<const std::byte*>(x), tensor_type::f32, stride};
  }
  const std::byte* row(std::int64_t i) const { return data + i * stride * static_cast<std::int64_t>(bytes_of(type)); }
};

/// Activations in the form kernels read: rounded to the compute type, rows in groups of 16, inputs in tiles of 32,
/// padding zero. Made once and shared by every matrix with the same input. Memory is kept between uses.
class packed_rows {
 public:
  explicit packed_rows(target t) : target_(t), stored_(activation_type(t)) {}

  /// Rows [0, n) of `x`, `stride` floats apart, `cols` wide.
  void assign(thread_pool& pool, const float* x, std::int64_t stride, std::int64_t n, std::int64_t cols);
  void assign(const float* x, std::int64_t stride, std::int64_t n, std::int64_t cols);
  /// The rows of `x` that `rows` names, in that order.
  void gather(const row_view& x, std::span<const std::int32_t> rows, std::int64_t cols);
  /// Room for n x cols with zeroed padding rows; all else is then written by the two calls below, different rows and
  /// tiles by different threads if need be.
  void resize(std::int64_t n, std::int64_t cols);
  void write_row(std::int64_t row, const float* values);
  /// Stores 32 values as columns [32 tile, 32 tile + 32) of one row; past cols() they must be zero.
  void write_piece(std::int64_t row, std::int64_t tile, const float* values) {
    store(values, at(row, tile), tile_inputs);
  }
  /// Stores `values` [n, 32] as columns [32 tile, 32 tile + 32) of rows [first, first + n), `first` a multiple of 16.
  /// Values of columns past cols() must be zero.
  void write_tile(std::int64_t first, std::int64_t n, std::int64_t tile, const float* values);

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  const target& packed_for() const { return target_; }
  /// The x side of a panel call over rows [first, first + n) from tile `tile` on; `first` is a multiple of 16.
  panel_args panel_input(std::int64_t first, std::int64_t n, std::int64_t tile) const;

 private:
  std::byte* at(std::int64_t row, std::int64_t tile) const;
  std::int64_t tile_bytes() const { return group_height_ * tile_inputs * static_cast<std::int64_t>(bytes_of(stored_)); }
  void store(const float* values, std::byte* to, std::int64_t count) const;
  void copy_row(std::int64_t row, const std::uint16_t* values);

  target target_;
  tensor_type stored_;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t tiles_ = 0;
  std::int64_t group_height_ = 0; ///< rows in a group: 16, or all when there are fewer
  buffer storage_;
};

/// Weights packed for one target. Immutable and safe to share between threads once made.
class matrix {
 public:
  matrix() = default;
  /// Packs a copy of `w`, which may be unmapped afterwards. f32 weights become bf16 when t.compute is bfloat16;
  /// f16 becomes f32 or bf16, as does FP8 whose blocks do not fit tiles (block_rows % 32, block_cols % 32).
  matrix(const weight_view& w, target t);

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  /// Bytes read to multiply by this matrix once: weights and scales, padding included.
  std::int64_t bytes() const {
    return static_cast<std::int64_t>(storage_.size()) + static_cast<std::int64_t>(scales_.size()) * 4;
  }
  const target& packed_for() const { return target_; }

  /// y[n, rows] = x[n, cols] Wᵀ; rows of y are `y_stride` floats apart. n may be 0.
  void multiply(thread_pool& pool, const packed_rows& x, float* y, std::int64_t y_stride) const;
  void multiply(thread_pool& pool, const float* x, std::int64_t x_stride, std::int64_t n, float* y,
                std::int64_t y_stride) const;

  /// For callers with their own task lists: blocks of 32 outputs, each computed by one thread.
  std::int64_t blocks() const { return blocks_; }
  /// Outputs [32 block, 32 block + 32) of rows [first, first + n) of x Wᵀ into `acc`, [padded_rows(n), 32] contiguous
  /// and 64-byte aligned; outputs past rows() come out zero. `first` is a multiple of 16.
  void multiply_block(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block, float* acc) const;

 private:
  void multiply_blocks(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block, std::int64_t count,
                       float* acc) const;
  void multiply_slice(const packed_rows& x, std::int64_t first, std::int64_t n, std::int64_t block, std::int64_t tile,
                      std::int64_t tiles, const std::byte* next, float* acc) const;
  const std::byte* weights_at(std::int64_t block, std::int64_t tile) const {
    return storage_.data() + (block * tiles_ + tile) * tile_bytes_;
  }

  target target_{};
  tensor_type stored_ = tensor_type::f32;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t blocks_ = 0;
  std::int64_t tiles_ = 0;           ///< tiles of 32 inputs
  std::int64_t tiles_per_scale_ = 0; ///< 0: unscaled
  std::size_t tile_bytes_ = 0;       ///< one tile of 32 inputs x 32 outputs
  buffer storage_;                   ///< [blocks][tiles][tile]
  std::vector<float> scales_;        ///< [blocks][scale blocks along the inputs]
};

} // namespace troupe::kernels
