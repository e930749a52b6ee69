// FP8 products: contiguous groups of prefill rows, and projections of a decode step.
#include "kernels/bench/cuda_rig.hpp"
#include "kernels/cuda/fp8_linear.hpp"
#include "kernels/cuda/prefill_gemm.hpp"
#include "kernels/cuda/sm90_linear.hpp"

#include <random>

namespace troupe::bench {
namespace {

using namespace cuda;

// Row counts are 0.7-1.3 x nominal, as DeepGEMM's own benchmark.
line bench_contiguous(timer& t, const char* name, int experts, int rows, int outputs, int cols, double target) {
  std::mt19937 random(static_cast<unsigned>(outputs));
  std::vector<int> segments{0};
  for (int e = 0; e < experts; ++e)
    segments.push_back(segments.back() + int(rows * std::uniform_real_distribution<>(0.7, 1.3)(random)));
  arena a;
  prefill_gemm_args g;
  g.rows = segments.back(), g.scale_pitch = (g.rows + 3) / 4 * 4, g.experts = experts, g.outputs = outputs,
  g.cols = cols;
  const std::size_t weights = std::size_t(experts) * outputs * cols, inputs = std::size_t(g.rows) * cols;
  g.x = a.e4m3(inputs / 4 * 4, 1), g.weights = a.e4m3(weights, 2);
  g.x_scales = a.floats(std::size_t(cols / 128) * g.scale_pitch, 1e-3f, 2e-3f, 3);
  g.weight_scales = a.floats(weights >> 14, 1e-4f, 2e-4f, 4);
  g.segments = a.copy(segments), g.y = a.get<std::uint16_t>(std::size_t(g.rows) * outputs);
  line l{std::string(name) + " " + std::to_string(experts) + " x " + std::to_string(rows)};
  l.us = t.median_us([&](cudaStream_t s) { check(prefill_gemm(g, s), "prefill_gemm"); });
  l.bytes = double(weights) + inputs + 2.0 * g.rows * outputs, l.flop = 2.0 * g.rows * outputs * cols;
  l.target = target, l.rate = true;
  return l;
}

line bench_linear(timer& t, int tokens, int rows, int cols, double target) {
  arena a;
  fp8_linear_args p;
  p.weights = a.e4m3(std::size_t(rows) * cols, 1), p.x = a.e4m3(std::size_t(tokens) * cols, 2);
  p.scales = a.floats(std::size_t(rows) * cols >> 14, 1e-4f, 2e-4f, 3);
  p.x_scales = a.floats(std::size_t(tokens) * cols >> 7, 1e-3f, 2e-3f, 4);
  p.y = a.get<std::uint16_t>(std::size_t(tokens) * rows), p.out = fp8_linear_out::bf16;
  p.y_pitch = rows, p.rows = rows, p.cols = cols, p.tokens = tokens;
  line l{"FP8 M=" + std::to_string(tokens) + " " + std::to_string(rows) + " x " + std::to_string(cols)};
  l.us = t.median_us([&](cudaStream_t s) { check(fp8_linear(p, s), "fp8_linear"); });
  l.bytes = double(rows) * cols + double(tokens) * (cols + 2.0 * rows), l.flop = 2.0 * tokens * rows * cols;
  l.target = target;
  return l;
}

/// BF16 activations: what the engine's projections, shared experts and head run.
line bench_wide(timer& t, bool fp8, int tokens, int rows, int cols, double target) {
  arena a;
  linear_args p;
  const auto weights = std::size_t(rows) * cols;
  p.weights = fp8 ? static_cast<const void*>(a.e4m3(weights, 1)) : a.bf16(weights, 1);
  p.scales = fp8 ? a.floats(weights >> 14, 1e-4f, 2e-4f, 3) : nullptr;
  p.x = a.bf16(std::size_t(tokens) * cols, 2), p.y = a.get<std::uint16_t>(std::size_t(tokens) * rows);
  p.out = linear_out::bf16;
  p.x_pitch = cols, p.y_pitch = rows, p.rows = rows, p.cols = cols, p.tokens = tokens;
  line l{(fp8 ? "FP8 x BF16 M=" : "BF16 M=") + std::to_string(tokens) + " " + std::to_string(rows) + " x " +
         std::to_string(cols)};
  l.us = t.median_us([&](cudaStream_t s) { check(wide_linear(p, s), "wide_linear"); });
  l.bytes = double(weights) * (fp8 ? 1 : 2) + double(tokens) * (2.0 * cols + 2.0 * rows);
  l.flop = 2.0 * tokens * rows * cols;
  l.target = target;
  return l;
}

} // namespace

std::vector<line> bench_products(timer& t) {
  return {bench_linear(t, 1, 24576, 1536, 19.7),
          bench_linear(t, 1, 7168, 16384, 48.2),
          bench_linear(t, 64, 24576, 1536, 18.6),
          bench_linear(t, 64, 7168, 16384, 47.7),
          bench_wide(t, true, 1, 24576, 1536, 19.7),
          bench_wide(t, true, 1, 7168, 16384, 48.2),
          bench_wide(t, true, 64, 24576, 1536, 18.6),
          bench_wide(t, true, 64, 7168, 16384, 47.7),
          bench_wide(t, true, 64, 36864, 7168, 0),
          bench_wide(t, false, 1, 129280, 7168, 0),
          bench_wide(t, false, 64, 129280, 7168, 0),
          bench_wide(t, true, 512, 7168, 16384, 0),
          bench_contiguous(t, "contiguous gate_up", 8, 1024, 4096, 7168, 1407),
          bench_contiguous(t, "contiguous down", 8, 1024, 7168, 2048, 1288)};
}

} // namespace troupe::bench
