// The four steps of the FP8 expert FFN, each against a W8A8 emulation in double that starts from the step's real input.
#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/random_slots.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <cmath>
#include <random>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;
using kernels::f8_e4m3_to_float;

namespace {

// One layer with random weights, routing and tokens, on host and device.
struct layer {
  ffn_shape shape;
  std::mt19937 random;
  test::random_slots slots;
  std::vector<std::uint16_t> x;
  std::vector<std::uint8_t> gate_up, down;
  std::vector<float> gate_up_scales, down_scales;

  layer(ffn_shape s, const std::vector<int>& counts, unsigned seed)
      : shape(s), random(seed), slots(s, counts, random), x(std::size_t(slots.tokens) * shape.hidden) {
    for (auto& v : x) v = kernels::float_to_bf16(uniform(-2, 2));
    gate_up = random_weights(std::size_t(shape.experts) * 2 * shape.intermediate * shape.hidden);
    down = random_weights(std::size_t(shape.experts) * shape.hidden * shape.intermediate);
    gate_up_scales =
        random_scales(std::size_t(shape.experts) * (2 * shape.intermediate / 128) * (shape.hidden / 128), shape.hidden);
    down_scales = random_scales(std::size_t(shape.experts) * (shape.hidden / 128) * (shape.intermediate / 128),
                                shape.intermediate);
  }

  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }
  std::vector<std::uint8_t> random_weights(std::size_t n) {
    std::vector<std::uint8_t> w(n);
    for (auto& v : w) do
        v = static_cast<std::uint8_t>(random());
      while ((v & 0x7F) > 0x70);
    return w;
  }
  std::vector<float> random_scales(std::size_t n, int width) {
    std::vector<float> s(n);
    for (auto& v : s) v = uniform(0.5f, 1.5f) / (60.0f * std::sqrt(float(width)));
    return s;
  }
};

// sum over K of w * x with per-128 scales of both, in double.
double scaled_dot(const std::uint8_t* w, const float* w_scales, const std::uint8_t* x, const float* x_scales,
                  int x_pitch, int k) {
  double sum = 0;
  for (int block = 0; block < k / 128; ++block) {
    double part = 0;
    for (int i = block * 128; i < block * 128 + 128; ++i)
      part += double(f8_e4m3_to_float(w[i])) * f8_e4m3_to_float(x[i]);
    sum += part * w_scales[block] * x_scales[block * x_pitch];
  }
  return sum;
}

struct run {
  test::device_buffer<int> rows, token_of, slot_of;
  test::device_buffer<float> weights;
  test::device_buffer<std::uint16_t> x, outputs, y;
  test::device_buffer<std::uint8_t> gate_up, down, inputs, middle;
  test::device_buffer<float> gate_up_scales, down_scales, input_scales, middle_scales;

  run(const layer& l, int rows_hint)
      : rows(l.slots.rows), token_of(l.slots.token_of), slot_of(l.slots.slot_of), weights(l.slots.weights), x(l.x),
        outputs(slots(l) * l.shape.hidden), y(l.x.size()), gate_up(l.gate_up), down(l.down),
        inputs(slots(l) * l.shape.hidden), middle(slots(l) * l.shape.intermediate), gate_up_scales(l.gate_up_scales),
        down_scales(l.down_scales), input_scales(slots(l) * (l.shape.hidden / 128)),
        middle_scales(slots(l) * (l.shape.intermediate / 128)) {
    const ffn_weights w{gate_up.get(), gate_up_scales.get(), down.get(), down_scales.get()};
    const ffn_workspace ws{inputs.get(), input_scales.get(), middle.get(), middle_scales.get(), outputs.get()};
    const ffn_routing routing{rows.get(), nullptr, token_of.get(), slot_of.get(), weights.get(), l.slots.tokens, 1};
    BOOST_REQUIRE_EQUAL(quantise_rows(l.shape, routing, x.get(), ws, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(grouped_gate_up(l.shape, w, routing, ws, rows_hint, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(grouped_down(l.shape, w, routing, ws, rows_hint, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(combine_rows(l.shape, routing, ws, y.get(), nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
  }
  static std::size_t slots(const layer& l) { return std::size_t(l.shape.experts) * l.shape.rows_max; }
};

void check(const layer& l, int rows_hint, int samples) {
  const run r(l, rows_hint);
  const auto& s = l.shape;
  const auto inputs = r.inputs.host(), middle = r.middle.host();
  const auto input_scales = r.input_scales.host(), middle_scales = r.middle_scales.host();
  const auto outputs = r.outputs.host(), y = r.y.host();
  const int k_in = s.hidden / 128, k_mid = s.intermediate / 128;
  std::mt19937 pick(7);
  double worst_middle = 0, worst_down = 0;
  for (int e = 0; e < s.experts; ++e)
    for (int row = 0; row < l.slots.rows[e]; ++row) {
      const std::size_t slot = std::size_t(e) * s.rows_max + row;
      const auto* x = &l.x[std::size_t(l.slots.token_of[slot]) * s.hidden];
      for (int g = 0; g < k_in; ++g) {
        float peak = 0;
        for (int i = 0; i < 128; ++i) peak = std::max(peak, std::abs(bf16_to_float(x[g * 128 + i])));
        BOOST_REQUIRE_EQUAL(input_scales[(std::size_t(e) * k_in + g) * s.rows_max + row],
                            std::max(peak, 1e-4f) / 448.0f);
      }
      for (int n = 0; n < samples; ++n) {
        const int i = int(pick() % s.intermediate), c = int(pick() % s.hidden);
        const auto up_row = std::size_t(e) * 2 * s.intermediate + s.intermediate + i,
                   gate_row = up_row - s.intermediate;
        const auto* xs = &input_scales[std::size_t(e) * k_in * s.rows_max + row];
        const auto dot = [&](std::size_t weight_row) {
          return scaled_dot(&l.gate_up[weight_row * s.hidden], &l.gate_up_scales[weight_row / 128 * k_in],
                            &inputs[slot * s.hidden], xs, s.rows_max, s.hidden);
        };
        const double gate = dot(gate_row), h = gate / (1 + std::exp(-gate)) * dot(up_row);
        const float scale = middle_scales[(std::size_t(e) * k_mid + i / 128) * s.rows_max + row];
        const double got = double(f8_e4m3_to_float(middle[slot * s.intermediate + i])) * scale;
        // Half an e4m3 step (2^-4 of the value, or of the smallest normal) and the tensor core's 14-bit sums.
        worst_middle = std::max(worst_middle, std::abs(got - h) / (std::abs(h) / 16 + scale * 0x1p-9 + 1e-3));
        const std::size_t down_row = std::size_t(e) * s.hidden + c;
        const double want = scaled_dot(
            &l.down[down_row * s.intermediate], &l.down_scales[down_row / 128 * k_mid], &middle[slot * s.intermediate],
            &middle_scales[std::size_t(e) * k_mid * s.rows_max + row], s.rows_max, s.intermediate);
        const float out = bf16_to_float(outputs[slot * s.hidden + c]);
        worst_down = std::max(worst_down, std::abs(out - want) / (std::abs(want) / 128 + 2e-3));
        const auto token = l.slots.token_of[slot];
        BOOST_REQUIRE_EQUAL(y[std::size_t(token) * s.hidden + c], kernels::float_to_bf16(l.slots.weights[token] * out));
      }
    }
  BOOST_TEST(worst_middle <= 1.0);
  BOOST_TEST(worst_down <= 1.0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(grouped_ffn, *boost::unit_test::precondition(test::needs_hopper))

// Row counts around every tile width, empty experts among them.
BOOST_DATA_TEST_CASE(small_layers_match_the_emulation, boost::unit_test::data::make({8, 16, 32, 64, 96}), hint) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const layer l({6, 200, 256, 128}, {0, 1, hint - 1, hint, hint + 1, 2 * hint + 1}, seed);

  check(l, hint, 16);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_the_emulation) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const layer l({3, 64, 7168, 2048}, {5, 0, 64}, seed);

  check(l, 64, 4);
}

// The bits of a token's row are the same alone and among others, for every tile width (contract 2).
BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  layer l({2, 96, 512, 256}, {96, 3}, seed);
  const auto full = run(l, 96).y.host();
  for (int hint : {8, 16, 32, 64}) BOOST_TEST((run(l, hint).y.host() == full));
  const int token = l.slots.token_of[0];
  l.slots.rows = {1, 0};
  const auto alone = run(l, 8).y.host();

  BOOST_TEST(std::equal(&alone[std::size_t(token) * 512], &alone[std::size_t(token) * 512] + 512,
                        &full[std::size_t(token) * 512]));
}

BOOST_AUTO_TEST_SUITE_END()
