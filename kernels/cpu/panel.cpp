// Chooses a panel kernel. Baseline code: the kernels themselves are in the files named after their instruction set.
#include "kernels/cpu/panel.hpp"

#include "kernels/cpu/check.hpp"

namespace troupe::kernels {
namespace {

struct choices {
  panel_kernel f32, bf16, f8;
};

choices choices_for(target t) {
  using namespace detail;
  if (t.set == isa::avx2) return {panel_avx2_f32, panel_avx2_bf16, panel_avx2_f8};
  if (t.compute == compute_type::float32) return {panel_avx512_f32, panel_avx512_bf16, panel_avx512_f8};
  if (t.set == isa::avx512_bf16) return {nullptr, panel_vdpbf16_bf16, panel_vdpbf16_f8};
  return {nullptr, panel_amx_bf16, panel_amx_f8};
}

} // namespace

tensor_type activation_type(target t) {
  return t.compute == compute_type::bfloat16 && t.set != isa::avx2 ? tensor_type::bf16 : tensor_type::f32;
}

panel_kernel panel_for(target t, tensor_type stored) {
  const auto kernels = choices_for(t);
  const auto kernel = stored == tensor_type::f32       ? kernels.f32
                      : stored == tensor_type::bf16    ? kernels.bf16
                      : stored == tensor_type::f8_e4m3 ? kernels.f8
                                                       : nullptr;
  check(kernel != nullptr, "no kernel for this weight type");
  return kernel;
}

} // namespace troupe::kernels
