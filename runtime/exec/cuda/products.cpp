#include "runtime/exec/cuda/products.hpp"

#include "kernels/cuda/path.hpp"
#include "kernels/cuda/prefill_linear.hpp"

namespace troupe::exec {
namespace {

/// From so many tokens on widening the weights once beats widening them for every 64 tokens.
constexpr int many_tokens = 512;

} // namespace

void products::run(cuda::linear_args args, cudaStream_t stream) {
  const bool many = !args.batch_invariant && args.tokens >= many_tokens && args.groups == 1 && !args.group_tokens &&
                    args.y_pitch % 2 == 0 && cuda::current_path() == cuda::kernel_path::hopper;
  if (!many) return must(cuda::linear(args, stream));
  if (args.scales) {
    auto* wide = widened_.reserve(static_cast<std::size_t>(args.rows) * static_cast<std::size_t>(args.cols));
    must(cuda::widen_weights(static_cast<const std::uint8_t*>(args.weights), args.scales, args.rows, args.cols, wide,
                             stream));
    args.weights = wide, args.scales = nullptr;
  }
  must(cuda::prefill_linear(args, stream));
}

void products::multiply(const device_matrix& w, const std::uint16_t* x, int tokens, void* y, cuda::linear_out out,
                        const float* bias, cudaStream_t stream) {
  cuda::linear_args args;
  args.weights = w.data.as<void>(), args.scales = w.scales.as<float>(), args.bias = bias;
  args.x = x, args.y = y, args.out = out;
  args.x_pitch = w.cols, args.y_pitch = w.rows;
  args.rows = w.rows, args.cols = w.cols, args.tokens = tokens, args.batch_invariant = w.batch_invariant;
  run(args, stream);
}

} // namespace troupe::exec
