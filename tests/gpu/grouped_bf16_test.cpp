// The BF16 expert FFN against double: gate_up from the gathered rows, down from the step's real middle.
#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/rows.hpp"
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

namespace {

constexpr std::uint16_t poison = 0xFFFF;

struct layer {
  ffn_shape shape;
  std::mt19937 random;
  test::random_slots slots;
  std::vector<std::uint16_t> x, gate_up, down;

  layer(ffn_shape s, const std::vector<int>& counts, unsigned seed)
      : shape(s), random(seed), slots(s, counts, random), x(values(std::size_t(slots.tokens) * s.hidden, 2)),
        gate_up(values(std::size_t(s.experts) * 2 * s.intermediate * s.hidden, 1.7f / std::sqrt(float(s.hidden)))),
        down(values(std::size_t(s.experts) * s.hidden * s.intermediate, 1.7f / std::sqrt(float(s.intermediate)))) {}

  /// Uniform in [-most, most).
  std::vector<std::uint16_t> values(std::size_t n, float most) {
    std::vector<std::uint16_t> v(n);
    for (auto& b : v) b = kernels::float_to_bf16(most * (float(random() >> 8) * 0x1p-23f - 1));
    return v;
  }
};

double dot(const std::uint16_t* w, const std::uint16_t* x, int k) {
  double sum = 0;
  for (int i = 0; i < k; ++i) sum += double(bf16_to_float(w[i])) * bf16_to_float(x[i]);
  return sum;
}

struct outcome {
  std::vector<std::uint16_t> middle, outputs, y;
};

/// With `segments` slots have no gaps, and rows_max counts them all.
outcome run(const layer& l, int rows_hint, const std::vector<int>& segments = {}) {
  const auto& s = l.shape;
  const bool sorted = !segments.empty();
  const std::size_t slots = sorted ? s.rows_max : std::size_t(s.experts) * s.rows_max;
  const test::device_buffer<int> rows(l.slots.rows), token_of(l.slots.token_of), slot_of(l.slots.slot_of),
      starts(segments);
  const test::device_buffer<float> weights(l.slots.weights);
  const test::device_buffer<std::uint16_t> x(l.x), gate_up(l.gate_up), down(l.down), y(l.x.size());
  const test::device_buffer<std::uint16_t> inputs(slots * s.hidden), middle(slots * s.intermediate),
      outputs(slots * s.hidden);
  const ffn_weights w{gate_up.get(), nullptr, down.get(), nullptr};
  const ffn_workspace ws{inputs.get(), nullptr, middle.get(), nullptr, outputs.get()};
  ffn_routing routing{rows.get(), nullptr, token_of.get(), slot_of.get(), weights.get(), l.slots.tokens, 1};
  if (sorted) routing.rows = nullptr, routing.segments = starts.get();
  BOOST_REQUIRE_EQUAL(sorted ? gather_rows(x.get(), token_of.get(), s.rows_max, s.hidden, inputs.get(), nullptr)
                             : gather_slots(x.get(), token_of.get(), rows.get(), s.experts, s.rows_max, s.hidden,
                                            inputs.get(), nullptr),
                      cudaSuccess);
  BOOST_REQUIRE_EQUAL(grouped_gate_up(s, w, routing, ws, rows_hint, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(grouped_down(s, w, routing, ws, rows_hint, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(combine_rows(s, routing, ws, y.get(), nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
  return {middle.host(), outputs.host(), y.host()};
}

/// Half a bf16 step, and what an fp32 chain over K loses.
double error_of(std::uint16_t got, double want) {
  return std::abs(bf16_to_float(got) - want) / (std::abs(want) / 255 + 2e-4);
}

void check(const layer& l, int rows_hint, int samples) {
  const auto got = run(l, rows_hint);
  const auto& s = l.shape;
  std::mt19937 pick(7);
  double worst_middle = 0, worst_down = 0;
  for (int e = 0; e < s.experts; ++e)
    for (int row = 0; row < s.rows_max; ++row) {
      const std::size_t slot = std::size_t(e) * s.rows_max + row;
      const auto *middle = &got.middle[slot * s.intermediate], *out = &got.outputs[slot * s.hidden];
      if (row >= l.slots.rows[e]) { // nobody's
        BOOST_REQUIRE(std::all_of(middle, middle + s.intermediate, [](auto v) { return v == poison; }));
        BOOST_REQUIRE(std::all_of(out, out + s.hidden, [](auto v) { return v == poison; }));
        continue;
      }
      const int token = l.slots.token_of[slot];
      const auto* x = &l.x[std::size_t(token) * s.hidden];
      for (int n = 0; n < samples; ++n) {
        const int i = int(pick() % s.intermediate), c = int(pick() % s.hidden);
        const auto gate_row = std::size_t(e) * 2 * s.intermediate + i, up_row = gate_row + s.intermediate;
        const double gate = dot(&l.gate_up[gate_row * s.hidden], x, s.hidden),
                     up = dot(&l.gate_up[up_row * s.hidden], x, s.hidden);
        worst_middle = std::max(worst_middle, error_of(middle[i], gate / (1 + std::exp(-gate)) * up));
        const auto* w = &l.down[(std::size_t(e) * s.hidden + c) * s.intermediate];
        worst_down = std::max(worst_down, error_of(out[c], dot(w, middle, s.intermediate)));
        BOOST_REQUIRE_EQUAL(got.y[std::size_t(token) * s.hidden + c],
                            kernels::float_to_bf16(l.slots.weights[token] * bf16_to_float(out[c])));
      }
    }
  BOOST_TEST(worst_middle <= 1.0);
  BOOST_TEST(worst_down <= 1.0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(grouped_bf16, *boost::unit_test::precondition(test::needs_hopper))

// Row counts around every tile width, empty experts among them.
BOOST_DATA_TEST_CASE(small_layers_match_double, boost::unit_test::data::make({8, 16, 32, 64, 96, 128}), hint) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const layer l({6, 264, 256, 128}, {0, 1, hint - 1, hint, hint + 1, 2 * hint + 1}, seed);

  check(l, hint, 16);
}

BOOST_AUTO_TEST_CASE(odd_numbers_of_strips_match_double) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  check(layer({1, 8, 256, 384}, {3}, seed), 3, 64);
  check(layer({3, 256, 1280, 640}, {256, 0, 129}, seed), 256, 8);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_double) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const layer l({3, 64, 7168, 2048}, {5, 0, 64}, seed);

  check(l, 64, 4);
}

// The same bits without gaps between the experts' slots.
BOOST_DATA_TEST_CASE(sorted_rows_have_the_bits_of_slots, boost::unit_test::data::make({8, 96, 128}), hint) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const layer l({5, 272, 512, 256}, {0, 1, hint + 1, 2 * hint - 1, 7}, seed);
  const auto want = run(l, hint);
  layer sorted = l;
  sorted.shape.rows_max = l.slots.tokens;
  std::vector<int> segments{0};
  for (int e = 0, next = 0; e < l.shape.experts; ++e) {
    for (int r = 0; r < l.slots.rows[e]; ++r, ++next) {
      const int token = l.slots.token_of[e * l.shape.rows_max + r];
      sorted.slots.token_of[next] = token, sorted.slots.slot_of[token] = next;
    }
    segments.push_back(next);
  }

  const auto got = run(sorted, hint, segments);

  BOOST_TEST((got.y == want.y));
}

// The bits of a token's row are the same alone and among others, for every tile width (contract 2).
BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  layer l({2, 128, 512, 256}, {128, 3}, seed);
  const auto full = run(l, 128).y;
  for (int hint : {8, 16, 32, 64, 96}) BOOST_TEST((run(l, hint).y == full));
  const auto first = std::size_t(l.slots.token_of[0]) * 512;
  l.slots.rows = {1, 0};
  const auto alone = run(l, 8).y;

  BOOST_TEST(std::equal(&alone[first], &alone[first] + 512, &full[first]));
}

BOOST_AUTO_TEST_CASE(no_rows_and_no_experts_are_fine_and_other_shapes_refused) {
  check(layer({2, 8, 256, 128}, {0, 0}, 1), 8, 1);
  const ffn_routing nobody;
  const auto status = [&](const ffn_shape& s) { return grouped_gate_up(s, {}, nobody, {}, 8, nullptr); };
  BOOST_TEST(status({0, 8, 256, 128}) == cudaSuccess);
  for (const ffn_shape& s : {ffn_shape{1, 8, 128, 128}, {1, 8, 256, 192}, {1, 12, 256, 128}, {321, 8, 256, 128}})
    BOOST_TEST(status(s) == cudaErrorInvalidValue);
}

BOOST_AUTO_TEST_SUITE_END()
