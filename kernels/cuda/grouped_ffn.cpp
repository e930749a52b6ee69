#include "kernels/cuda/grouped_ffn.hpp"

#include "kernels/cuda/sm90_grouped_gemm.hpp"

namespace troupe::cuda {
namespace {

cudaError_t run(stage_of stage, const ffn_shape& shape, const grouped_gemm_args& args, int rows_hint,
                cudaStream_t stream) {
  const bool fp8 = args.weight_scales, packed = args.segments;
  if (shape.hidden % 256 || shape.intermediate % 128 || shape.rows_max <= 0 || shape.experts > ffn_experts_max ||
      fp8 != (args.token_scales != nullptr) || (packed ? fp8 : shape.rows_max % 8 != 0))
    return cudaErrorInvalidValue;
  if (shape.experts == 0) return cudaSuccess;
  return fp8 ? fp8_grouped_gemm(stage, args, rows_hint, stream) : bf16_grouped_gemm(stage, args, rows_hint, stream);
}

} // namespace

cudaError_t grouped_gate_up(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                            const ffn_workspace& ws, int rows_hint, cudaStream_t stream) {
  grouped_gemm_args args{w.gate_up, w.gate_up_scales, ws.inputs, ws.input_scales, routing.rows, routing.segments};
  args.middle = ws.middle, args.middle_scales = ws.middle_scales;
  args.experts = shape.experts, args.rows_max = shape.rows_max;
  args.weight_rows = 2 * shape.intermediate, args.cols = shape.hidden;
  return run(stage_of::gate_up, shape, args, rows_hint, stream);
}

cudaError_t grouped_down(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                         const ffn_workspace& ws, int rows_hint, cudaStream_t stream) {
  grouped_gemm_args args{w.down, w.down_scales, ws.middle, ws.middle_scales, routing.rows, routing.segments};
  args.outputs = ws.outputs;
  args.experts = shape.experts, args.rows_max = shape.rows_max;
  args.weight_rows = shape.hidden, args.cols = shape.intermediate;
  return run(stage_of::down, shape, args, rows_hint, stream);
}

} // namespace troupe::cuda
