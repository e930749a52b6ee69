// Panel kernels for AVX2 + FMA: fp32 arithmetic for both compute types (bf16 products are exact in fp32).
#include "kernels/cpu/panel_float.hpp"

namespace troupe::kernels::detail {

void panel_avx2_f32(const panel_args& a) { panel_float<f32_tiles>(a); }
void panel_avx2_bf16(const panel_args& a) { panel_float<bf16_tiles>(a); }
void panel_avx2_f8(const panel_args& a) { panel_float<f8_tiles>(a); }

} // namespace troupe::kernels::detail
