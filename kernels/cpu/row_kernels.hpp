// Operations along one row that every instruction set rounds alike: chosen for this machine, never for its bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace troupe::kernels {

/// Signatures as in bf16.hpp and elementwise.hpp, and the two halves of rmsnorm.
struct row_kernels {
  void (*to_bf16)(const float* from, std::uint16_t* to, std::int64_t count);
  /// `tiles` runs of 32 values, `tile_bytes` apart in `to`.
  void (*to_bf16_tiles)(const float* from, std::int64_t tiles, std::byte* to, std::int64_t tile_bytes);
  void (*from_bf16)(const std::uint16_t* from, float* to, std::int64_t count);
  void (*round_floats)(const float* from, float* to, std::int64_t count);
  void (*add)(const float* x, std::int64_t n, float* y);
  void (*add_scaled)(const float* x, float factor, std::int64_t n, float* y);
  float (*sum_of_squares)(const float* x, std::int64_t n);
  /// y = weight * (x * factor)
  void (*scale)(const float* x, const float* weight, float factor, std::int64_t n, float* y);
};

/// Those of this machine; before main() maybe slower ones.
const row_kernels& row_kernels_here();

namespace detail {
extern const row_kernels rows_baseline, rows_avx2, rows_avx512;
} // namespace detail

} // namespace troupe::kernels
