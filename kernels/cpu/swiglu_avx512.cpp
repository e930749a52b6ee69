#include "kernels/cpu/simd.hpp"
#include "kernels/cpu/swiglu.hpp"

namespace troupe::kernels::detail {

void swiglu_avx512(float* gate, const float* up, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += 16) store(gate + i, silu(load(gate + i)) * load(up + i));
}

} // namespace troupe::kernels::detail
