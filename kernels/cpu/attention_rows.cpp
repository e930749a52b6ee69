#include "kernels/cpu/attention_rows.hpp"

#include <cstring>

namespace troupe::kernels {

attention_kernels attention_kernels_for(target t) {
  using namespace detail;
  const bool rounded = t.compute == compute_type::bfloat16;
  if (t.set == isa::avx2) return {rounded ? softmax_avx2_bf16 : softmax_avx2_f32, pack_values_f32, pack_queries_f32};
  if (rounded) return {softmax_avx512_bf16, pack_values_bf16, pack_queries_bf16};
  return {softmax_avx512_f32, pack_values_f32, pack_queries_f32};
}

void detail::pack_values_f32(const std::byte* rows, std::int64_t row_bytes, std::int64_t valid, std::int64_t blocks,
                             std::byte* tile, std::int64_t block_bytes) {
  constexpr std::int64_t tile_row = tile_outputs * static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t r = 0; r < tile_inputs; ++r)
    for (std::int64_t b = 0; b < blocks; ++b) {
      auto* to = tile + b * block_bytes + r * tile_row;
      if (r < valid) {
        std::memcpy(to, rows + r * row_bytes + b * tile_row, tile_row);
      } else {
        std::memset(to, 0, tile_row);
      }
    }
}

void detail::pack_queries_f32(const std::byte* rows, std::int64_t row_bytes, std::int64_t lanes, std::int64_t tiles,
                              std::byte* to) {
  auto* out = reinterpret_cast<float*>(to);
  for (std::int64_t k = 0; k < tiles * tile_inputs; ++k, out += tile_outputs)
    for (std::int64_t lane = 0; lane < tile_outputs; ++lane)
      out[lane] = lane < lanes ? reinterpret_cast<const float*>(rows + lane * row_bytes)[k] : 0.0f;
}

} // namespace troupe::kernels
