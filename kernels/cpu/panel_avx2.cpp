// Math      acc[r, o] += sum_k x[r, k] w[k, o] in fp32 FMA for both compute types (bf16 products are exact in fp32)
// Measured  one Sapphire Rapids-class core: one row 13.4 GB/s bf16, 2 FP8 of 17 STREAM; 512 rows 35 GFLOP/s
#include "kernels/cpu/panel_float.hpp"

namespace troupe::kernels::detail {

void panel_avx2_f32(const panel_args& a) { panel_float<f32_tiles>(a); }
void panel_avx2_bf16(const panel_args& a) { panel_float<bf16_tiles>(a); }
void panel_avx2_f8(const panel_args& a) { panel_float<f8_tiles>(a); }

} // namespace troupe::kernels::detail
