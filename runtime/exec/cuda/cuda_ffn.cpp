#include "runtime/exec/cuda/cuda_ffn.hpp"

#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/prefill_gemm.hpp"
#include "kernels/cuda/rows.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

/// R1's 256 experts with 512 slots each take 3.2 GB, in BF16 4.3 GB.
constexpr std::size_t slots_bytes_max = std::size_t{4} << 30;

} // namespace

int cuda_ffn::rows_max(const device_ffn& w, int tokens) {
  const std::size_t slot_bytes = !w.is_grouped() ? 4 * w.hidden + 10 * w.width
                                 : w.is_fp8()    ? 3 * w.hidden + w.width + (w.hidden + w.width) / 32
                                                 : 4 * w.hidden + 2 * w.width;
  const auto fitting = slots_bytes_max / (slot_bytes * static_cast<std::size_t>(std::max(w.experts, 1))) / 8 * 8;
  return static_cast<int>(
      std::clamp<std::size_t>((static_cast<std::size_t>(tokens) + 7) / 8 * 8, 8, std::max<std::size_t>(fitting, 8)));
}

int cuda_ffn::sorted_tokens_max(const device_ffn& w, int top_k) {
  const std::size_t slot_bytes =
      w.is_fp8() ? 3 * w.hidden + 5 * w.width + (w.hidden + w.width) / 32 : 4 * w.hidden + 2 * w.width;
  return static_cast<int>(slots_bytes_max / (slot_bytes * static_cast<std::size_t>(top_k)));
}

const std::uint16_t* cuda_ffn::run_routed(const device_ffn& w, const expert_slots& slots, const std::uint16_t* x,
                                          cudaStream_t stream) {
  if (w.is_grouped()) {
    const auto ws = workspace(w, static_cast<std::size_t>(w.experts) * slots.rows_max);
    cuda::ffn_routing routing;
    routing.rows = slots.rows, routing.token_of = slots.token_of;
    if (w.is_fp8())
      must(cuda::quantise_rows({w.experts, slots.rows_max, w.hidden, w.width}, routing, x, ws, stream));
    else
      must(cuda::gather_slots(x, slots.token_of, slots.rows, w.experts, slots.rows_max, w.hidden,
                              static_cast<std::uint16_t*>(ws.inputs), stream));
    return run_grouped(w, routing, slots.rows_max, slots.rows_hint, ws, stream), ws.outputs;
  }
  const auto count = static_cast<std::size_t>(w.experts) * slots.rows_max;
  auto* out = outputs_.reserve(count * w.hidden);
  auto* inputs = inputs_.reserve(count * w.hidden);
  must(cuda::gather_slots(x, slots.token_of, slots.rows, w.experts, slots.rows_max, w.hidden, inputs, stream));
  return run_linear(w, slots.rows, slots.rows_max, inputs, out, stream), out;
}

const std::uint16_t* cuda_ffn::run_chosen(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_max,
                                          int rows_hint, cudaStream_t stream) {
  const auto ws = workspace(w, static_cast<std::size_t>(w.experts) * rows_max);
  must(cuda::permute_rows({w.experts, rows_max, w.hidden, w.width}, choice, ws, stream));
  cuda::ffn_routing routing;
  routing.rows = choice.rows;
  return run_grouped(w, routing, rows_max, rows_hint, ws, stream), ws.outputs;
}

const std::uint16_t* cuda_ffn::run_own(const device_ffn& w, int tokens, const std::uint16_t* x, cudaStream_t stream) {
  auto* out = outputs_.reserve(static_cast<std::size_t>(tokens) * w.hidden);
  return run_linear(w, nullptr, tokens, x, out, stream), out;
}

const std::uint16_t* cuda_ffn::run_sorted(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_hint,
                                          int* segments, cudaStream_t stream) {
  const int rows = choice.tokens * choice.route.top_k, pitch = (rows + 3) / 4 * 4;
  must(cuda::sort_rows(choice.chosen, choice.tokens, choice.route.top_k, w.experts, segments, choice.token_of,
                       choice.slot_of, stream));
  const auto ws = workspace(w, static_cast<std::size_t>(pitch));
  if (!w.is_fp8()) {
    must(cuda::gather_rows(choice.x, choice.token_of, rows, w.hidden, static_cast<std::uint16_t*>(ws.inputs), stream));
    cuda::ffn_routing routing;
    routing.segments = segments;
    return run_grouped(w, routing, rows, rows_hint, ws, stream), ws.outputs;
  }
  cuda::ffn_routing all; // as one expert's
  all.rows = segments + w.experts, all.token_of = choice.token_of;
  must(cuda::quantise_rows({1, pitch, w.hidden, w.width}, all, choice.x, ws, stream));

  auto* gate_up = middle_.reserve(static_cast<std::size_t>(rows) * 2 * w.width);
  cuda::prefill_gemm_args args;
  args.segments = segments, args.rows = rows, args.scale_pitch = pitch, args.experts = w.experts;
  args.x = static_cast<const std::uint8_t*>(ws.inputs), args.x_scales = ws.input_scales, args.cols = w.hidden;
  args.weights = w.gate_up.as<std::uint8_t>(), args.weight_scales = w.gate_up_scales.as<float>();
  args.y = gate_up, args.outputs = 2 * w.width;
  must(cuda::prefill_gemm(args, stream));
  auto* middle = static_cast<std::uint8_t*>(ws.middle);
  must(cuda::swiglu_quantise(gate_up, rows, w.width, pitch, middle, ws.middle_scales, stream));
  args.x = middle, args.x_scales = ws.middle_scales, args.cols = w.width;
  args.weights = w.down.as<std::uint8_t>(), args.weight_scales = w.down_scales.as<float>();
  args.y = ws.outputs, args.outputs = w.hidden;
  must(cuda::prefill_gemm(args, stream));
  return ws.outputs;
}

cuda::ffn_workspace cuda_ffn::workspace(const device_ffn& w, std::size_t count) {
  const std::size_t element_bytes = w.is_fp8() ? 1 : 2;
  cuda::ffn_workspace ws;
  ws.inputs = slot_inputs_.reserve(count * w.hidden * element_bytes);
  ws.middle = slot_middle_.reserve(count * w.width * element_bytes);
  ws.outputs = outputs_.reserve(count * w.hidden);
  if (!w.is_fp8()) return ws;
  ws.input_scales = input_scales_.reserve(count * (w.hidden / 128));
  ws.middle_scales = middle_scales_.reserve(count * (w.width / 128));
  return ws;
}

void cuda_ffn::run_grouped(const device_ffn& w, const cuda::ffn_routing& routing, int rows_max, int rows_hint,
                           const cuda::ffn_workspace& ws, cudaStream_t stream) {
  const cuda::ffn_shape shape{w.experts, rows_max, w.hidden, w.width};
  const cuda::ffn_weights weights{w.gate_up.as<void>(), w.gate_up_scales.as<float>(), w.down.as<void>(),
                                  w.down_scales.as<float>()};
  must(cuda::grouped_gate_up(shape, weights, routing, ws, rows_hint, stream));
  must(cuda::grouped_down(shape, weights, routing, ws, rows_hint, stream));
}

/// `pitch` rows of each expert in memory, the first group_tokens[e] of them in use (null: all).
void cuda_ffn::run_linear(const device_ffn& w, const int* group_tokens, int pitch, const std::uint16_t* inputs,
                          std::uint16_t* out, cudaStream_t stream) {
  const auto count = static_cast<std::size_t>(w.experts) * pitch;
  auto* gate_up = gate_up_.reserve(count * 2 * w.width);
  auto* middle = middle_.reserve(count * w.width);
  cuda::linear_args args;
  args.tokens = pitch, args.groups = w.experts, args.group_tokens = group_tokens;
  args.batch_invariant = w.batch_invariant;
  const auto product = [&](const device_memory& weights, const device_memory& scales, const std::uint16_t* from,
                           int cols, void* to, int rows, cuda::linear_out type) {
    args.weights = weights.as<void>(), args.scales = scales.as<float>(), args.x = from, args.y = to, args.out = type;
    args.rows = rows, args.cols = cols;
    args.x_pitch = cols, args.x_group = std::int64_t{cols} * pitch;
    args.y_pitch = rows, args.y_group = std::int64_t{rows} * pitch;
    products_.run(args, stream);
  };
  product(w.gate_up, w.gate_up_scales, inputs, w.hidden, gate_up, 2 * w.width, cuda::linear_out::f32);
  must(cuda::swiglu_rows(gate_up, group_tokens, w.experts, pitch, pitch, w.width, middle, stream));
  product(w.down, w.down_scales, middle, w.width, out, w.hidden, cuda::linear_out::bf16);
}

} // namespace troupe::exec
