#include "kernels/cpu/row_kernels.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/row_loops.hpp"

namespace troupe::kernels {

const row_kernels detail::rows_baseline = row_kernels_of_this_file;

const row_kernels& row_kernels_here() {
  static const row_kernels chosen = supported(isa::avx512_bf16) ? detail::rows_avx512
                                    : supported(isa::avx2)      ? detail::rows_avx2
                                                                : detail::rows_baseline;
  return chosen;
}

void to_bf16(const float* from, std::uint16_t* to, std::int64_t count) { row_kernels_here().to_bf16(from, to, count); }

void from_bf16(const std::uint16_t* from, float* to, std::int64_t count) {
  row_kernels_here().from_bf16(from, to, count);
}

void round_floats(const float* from, float* to, std::int64_t count) {
  row_kernels_here().round_floats(from, to, count);
}

} // namespace troupe::kernels
