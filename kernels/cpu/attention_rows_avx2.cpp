#include "kernels/cpu/attention_softmax.hpp"

namespace troupe::kernels::detail {

void softmax_avx2_f32(const softmax_args& a) { softmax_to_floats(a); }

void softmax_avx2_bf16(const softmax_args& a) {
  softmax_lanes(a, [&](std::int64_t half, std::int64_t tile, const f32x16* p) {
    store_float_tile(a, half, tile, p, [](float v) { return bf16_to_float(float_to_bf16(v)); });
  });
}

} // namespace troupe::kernels::detail
