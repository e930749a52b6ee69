#include "kernels/cpu/row_kernels.hpp"

#include "kernels/cpu/bf16.hpp"
#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/row_loops.hpp"

namespace troupe::kernels {

const row_kernels detail::rows_baseline = row_kernels_of_this_file;

namespace {

// A pointer that is never null: calls are too short for a guarded static.
constinit const row_kernels* chosen = &detail::rows_baseline;
[[maybe_unused]] const bool choice_made = [] {
  if (supported(isa::avx2)) chosen = &detail::rows_avx2;
  if (supported(isa::avx512_bf16)) chosen = &detail::rows_avx512;
  return true;
}();

} // namespace

const row_kernels& row_kernels_here() { return *chosen; }

void to_bf16(const float* from, std::uint16_t* to, std::int64_t count) { row_kernels_here().to_bf16(from, to, count); }

void from_bf16(const std::uint16_t* from, float* to, std::int64_t count) {
  row_kernels_here().from_bf16(from, to, count);
}

void round_floats(const float* from, float* to, std::int64_t count) {
  row_kernels_here().round_floats(from, to, count);
}

} // namespace troupe::kernels
