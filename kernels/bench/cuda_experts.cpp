// Routed experts: the FFN alone, the gate with permutation, and a whole MoE layer from router to combine.
#include "kernels/bench/cuda_rig.hpp"
#include "kernels/cuda/gate_permute.hpp"
#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/linear.hpp"
#include "kernels/cuda/rows.hpp"

#include <algorithm>
#include <bit>
#include <random>

namespace troupe::bench {
namespace {

using namespace cuda;

constexpr int hidden = 7168, intermediate = 2048;

ffn_weights random_weights(arena& a, int experts, bool fp8) {
  const std::size_t up = std::size_t(experts) * 2 * intermediate * hidden, down = up / 2;
  if (!fp8) return {a.bf16(up, 1), nullptr, a.bf16(down, 2), nullptr};
  return {a.e4m3(up, 1), a.floats(up >> 14, 1e-4f, 2e-4f, 3), a.e4m3(down, 2), a.floats(down >> 14, 1e-4f, 2e-4f, 4)};
}

ffn_workspace workspace(arena& a, const ffn_shape& s, bool fp8) {
  const std::size_t slots = std::size_t(s.experts) * s.rows_max, bytes = fp8 ? 1 : 2;
  ffn_workspace ws;
  ws.inputs = a.get<std::byte>(slots * hidden * bytes), ws.middle = a.get<std::byte>(slots * intermediate * bytes);
  ws.outputs = a.get<std::uint16_t>(slots * hidden);
  if (fp8)
    ws.input_scales = a.get<float>(slots * hidden / 128), ws.middle_scales = a.get<float>(slots * intermediate / 128);
  return ws;
}

double weight_bytes(int experts, bool fp8) {
  return 3.0 * intermediate * hidden * experts * (fp8 ? 1 + 4.0 / 16384 : 2);
}
double row_bytes(int rows, bool fp8) {
  return double(rows) * (2.0 * hidden + (hidden + intermediate) * (fp8 ? 1 : 2) + 4.0 * hidden);
}

std::string named(std::string what, bool fp8) { return fp8 ? what : what + ", BF16"; }

// Row counts are 0.7-1.3 x nominal, as DeepGEMM's own benchmark.
line bench_ffn(timer& t, int experts, int rows, double target, bool fp8 = true) {
  std::mt19937 random(static_cast<unsigned>(experts * 1000 + rows));
  std::vector<int> counts(experts);
  for (auto& c : counts) c = std::max(1, static_cast<int>(rows * std::uniform_real_distribution<>(0.7, 1.3)(random)));
  const int most = *std::max_element(counts.begin(), counts.end());
  const ffn_shape s{experts, (most + 95) / 96 * 96, hidden, intermediate};
  std::vector<int> token_of(std::size_t(s.experts) * s.rows_max), slot_of;
  int tokens = 0;
  for (int e = 0; e < experts; ++e)
    for (int r = 0; r < counts[e]; ++r)
      token_of[std::size_t(e) * s.rows_max + r] = tokens++, slot_of.push_back(e * s.rows_max + r);
  arena a;
  const auto w = random_weights(a, experts, fp8);
  const auto ws = workspace(a, s, fp8);
  const ffn_routing routing{a.copy(counts), nullptr, a.copy(token_of), a.copy(slot_of), a.floats(tokens, 0, 1, 5),
                            tokens,         1};
  const auto* x = a.bf16(std::size_t(tokens) * hidden, 6);
  auto* y = a.get<std::uint16_t>(std::size_t(tokens) * hidden);
  line l{named("FFN " + std::to_string(experts) + " x " + std::to_string(rows), fp8)};
  l.us = t.median_us([&](cudaStream_t stream) {
    check(fp8 ? quantise_rows(s, routing, x, ws, stream)
              : gather_slots(x, routing.token_of, routing.rows, experts, s.rows_max, hidden,
                             static_cast<std::uint16_t*>(ws.inputs), stream),
          "rows to slots");
    check(grouped_gate_up(s, w, routing, ws, most, stream), "gate_up");
    check(grouped_down(s, w, routing, ws, most, stream), "down");
    check(combine_rows(s, routing, ws, y, stream), "combine");
  });
  l.bytes = weight_bytes(experts, fp8) + row_bytes(tokens, fp8);
  l.flop = 6.0 * tokens * hidden * intermediate, l.target = target;
  return l;
}

// One MoE layer of R1 on one card: the shared expert is one more group that every token visits.
struct layer {
  arena a;
  ffn_shape shape;
  gate_permute_args gate;
  linear_args router;
  ffn_workspace ws;
  std::uint16_t* y;

  layer(int tokens, bool fp8) : shape{257, (tokens + 31) / 32 * 32, hidden, intermediate} {
    std::mt19937 random(9);
    std::normal_distribution<float> normal(0, 0.012f); // logits of standard deviation 1
    std::vector<std::uint16_t> w(256 * hidden);
    for (auto& v : w) v = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(normal(random)) >> 16);
    auto* logits = a.get<float>(std::size_t(tokens) * 256);
    gate.route = {256, 8, 8, 4, false, true, true, true, 2.5f};
    gate.shared = true, gate.logits = logits, gate.bias = a.floats(256, 0, 0.01f, 7), gate.tokens = tokens;
    gate.x = a.bf16(std::size_t(tokens) * hidden, 8);
    gate.rows = a.get<int>(257), gate.token_of = a.get<int>(std::size_t(257) * shape.rows_max);
    gate.slot_of = a.get<int>(tokens * 9), gate.weights = a.get<float>(tokens * 9);
    gate.chosen = a.get<int>(tokens * 8);
    router.weights = a.copy(w), router.x = gate.x, router.y = logits, router.out = linear_out::f32;
    router.x_pitch = hidden, router.y_pitch = 256, router.rows = 256, router.cols = hidden, router.tokens = tokens;
    ws = workspace(a, shape, fp8), y = a.get<std::uint16_t>(std::size_t(tokens) * hidden);
  }
};

int experts_touched(const layer& l) {
  std::vector<int> rows(257);
  check(cudaMemcpy(rows.data(), l.gate.rows, 257 * sizeof(int), cudaMemcpyDeviceToHost), "rows");
  return int(std::count_if(rows.begin(), rows.end(), [](int r) { return r > 0; }));
}

line bench_layer(timer& t, int tokens, double target, bool fp8) {
  constexpr int rows_hint = 16; // 4 rows an expert, but all tokens at the shared one; 32 and 64: 1-2 % slower
  layer l(tokens, fp8);
  const auto w = random_weights(l.a, 257, fp8);
  const ffn_routing routing{l.gate.rows, nullptr, l.gate.token_of, l.gate.slot_of, l.gate.weights, tokens, 9};
  line out{named("MoE layer 256 + 1 experts, " + std::to_string(tokens) + " tokens", fp8)};
  out.us = t.median_us([&](cudaStream_t stream) {
    check(linear(l.router, stream), "router");
    check(gate_permute(l.shape, l.gate, l.ws, stream), "gate");
    check(grouped_gate_up(l.shape, w, routing, l.ws, rows_hint, stream), "gate_up");
    check(grouped_down(l.shape, w, routing, l.ws, rows_hint, stream), "down");
    check(combine_rows(l.shape, routing, l.ws, l.y, stream), "combine");
  });
  out.bytes = weight_bytes(experts_touched(l), fp8) + row_bytes(9 * tokens, fp8) + 2.0 * 256 * hidden;
  out.flop = 6.0 * 9 * tokens * hidden * intermediate, out.target = target;
  return out;
}

} // namespace

std::vector<line> bench_experts(timer& t) {
  // Layers last: memory that 11 GB were given back to is slower (BF16 32 x 16: 745 us, 686 elsewhere).
  return {bench_ffn(t, 32, 16, 521),       bench_ffn(t, 32, 1, 521),        bench_ffn(t, 32, 64, 540),
          bench_ffn(t, 8, 4, 146),         bench_ffn(t, 32, 16, 0, false),  bench_ffn(t, 32, 1, 0, false),
          bench_ffn(t, 32, 64, 0, false),  bench_ffn(t, 32, 256, 0, false), bench_ffn(t, 8, 4, 0, false),
          bench_layer(t, 128, 4300, true), bench_layer(t, 128, 0, false)};
}

std::vector<line> bench_gate(timer& t) {
  std::vector<line> lines;
  for (int tokens : {1, 64, 128, 256}) {
    layer l(tokens, true);
    check(linear(l.router, nullptr), "router");
    line out{"gate + permute + quantise, " + std::to_string(tokens) + " tokens"};
    out.us = t.median_us([&](cudaStream_t stream) { check(gate_permute(l.shape, l.gate, l.ws, stream), "gate"); });
    out.bytes = tokens * (2.0 * hidden + 9.0 * hidden * (1 + 4.0 / 128) + 4 * 256), out.target = 8;
    lines.push_back(out);
  }
  return lines;
}

} // namespace troupe::bench
