// Gate, slots and quantisation against the oracle of the gate and the plain rules of slots and scales.
#include "kernels/cuda/gate_permute.hpp"
#include "kernels/ref/attention.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <cmath>
#include <random>

using namespace troupe;
using namespace troupe::cuda;

namespace {

constexpr route_config r1{256, 8, 8, 4, false, true, true, true, 2.5f};

struct step {
  route_config route;
  bool shared;
  int tokens, hidden, rows_max;
  std::vector<float> logits, bias;
  std::vector<std::uint16_t> x;

  step(route_config c, bool shared, int tokens, int hidden, unsigned seed)
      : route(c), shared(shared), tokens(tokens), hidden(hidden), rows_max((std::max(tokens, 1) + 7) / 8 * 8) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    logits.resize(std::size_t(tokens) * c.experts), bias.resize(c.experts), x.resize(std::size_t(tokens) * hidden);
    for (auto& l : logits) l = normal(random);
    for (auto& b : bias)
      b = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random); // masked experts are -inf, not 0
    for (auto& v : x) v = kernels::float_to_bf16(normal(random));
  }
  int experts() const { return route.experts + shared; }
  int choices() const { return route.top_k + shared; }
};

struct outcome {
  std::vector<int> rows, token_of, slot_of, chosen;
  std::vector<float> weights, scales;
  std::vector<std::uint8_t> inputs;
  bool operator==(const outcome&) const = default;
};

/// FP8 rows, or as they are.
outcome run(const step& s, bool fp8 = true) {
  const std::size_t slots = std::size_t(s.experts()) * s.rows_max, choices = std::size_t(s.tokens) * s.choices();
  const test::device_buffer<float> logits(s.logits), bias(s.bias), weights(choices), scales(slots * (s.hidden / 128));
  const test::device_buffer<std::uint16_t> x(s.x);
  const test::device_buffer<int> rows(s.experts()), token_of(slots), slot_of(choices), chosen(s.tokens * s.route.top_k);
  const test::device_buffer<std::uint8_t> inputs(slots * s.hidden * (fp8 ? 1 : 2));
  gate_permute_args args{s.route,    s.shared,       logits.get(),  bias.get(),    x.get(),     s.tokens,
                         rows.get(), token_of.get(), slot_of.get(), weights.get(), chosen.get()};
  ffn_workspace ws;
  ws.inputs = inputs.get(), ws.input_scales = fp8 ? scales.get() : nullptr;
  BOOST_REQUIRE_EQUAL(cuda::gate_permute({s.experts(), s.rows_max, s.hidden, 128}, args, ws, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
  return {rows.host(), token_of.host(), slot_of.host(), chosen.host(), weights.host(), scales.host(), inputs.host()};
}

kernels::gate_config cpu_config(const route_config& c) {
  const auto method = !c.limited      ? kernels::gate_method::greedy
                      : c.pair_scores ? kernels::gate_method::noaux_tc
                                      : kernels::gate_method::group_limited_greedy;
  return {c.experts,
          c.top_k,
          c.groups,
          c.groups_kept,
          c.softmax ? kernels::gate_scoring::softmax : kernels::gate_scoring::sigmoid,
          method,
          c.normalise,
          c.scaling};
}

// Every byte the step should have written; slots nobody fills keep their poison.
void check(const step& s, bool with_oracle = true) {
  const auto got = run(s);
  const std::vector<double> bias(s.bias.begin(), s.bias.end());
  std::vector<int> rows(s.experts());
  for (int t = 0; t < s.tokens; ++t) {
    const auto* chosen = &got.chosen[std::size_t(t) * s.route.top_k];
    if (with_oracle) {
      const auto* l = &s.logits[std::size_t(t) * s.route.experts];
      const auto want = kernels::ref::choose_experts(cpu_config(s.route), {l, l + s.route.experts}, bias);
      BOOST_REQUIRE(std::equal(want.experts.begin(), want.experts.end(), chosen));
      for (int j = 0; j < s.route.top_k; ++j)
        BOOST_REQUIRE_SMALL(got.weights[std::size_t(t) * s.choices() + j] - want.weights[j], 1e-5 * want.weights[j]);
    }
    for (int j = 0; j < s.choices(); ++j) {
      const int expert = j < s.route.top_k ? chosen[j] : s.route.experts;
      const std::size_t slot = std::size_t(expert) * s.rows_max + rows[expert]++;
      BOOST_REQUIRE_EQUAL(got.slot_of[std::size_t(t) * s.choices() + j], int(slot));
      BOOST_REQUIRE_EQUAL(got.token_of[slot], t);
      if (j == s.route.top_k) BOOST_REQUIRE_EQUAL(got.weights[std::size_t(t) * s.choices() + j], 1.0f);
      for (int g = 0; g < s.hidden / 128; ++g) {
        const auto* x = &s.x[std::size_t(t) * s.hidden + g * 128];
        float peak = 0;
        for (int i = 0; i < 128; ++i) peak = std::max(peak, std::abs(kernels::bf16_to_float(x[i])));
        const float scale = std::max(peak, 1e-4f) / 448.0f;
        const std::size_t at = (std::size_t(expert) * (s.hidden / 128) + g) * s.rows_max + slot % s.rows_max;
        BOOST_REQUIRE_EQUAL(got.scales[at], scale);
        for (int i = 0; i < 128; ++i) {
          const float v = kernels::bf16_to_float(x[i]) / scale,
                      q = kernels::f8_e4m3_to_float(got.inputs[slot * s.hidden + g * 128 + i]);
          BOOST_REQUIRE_LE(std::abs(q - v), std::max(std::abs(v) / 16, 0x1p-10f));
        }
      }
    }
  }
  BOOST_TEST(got.rows == rows, boost::test_tools::per_element());
}

} // namespace

BOOST_AUTO_TEST_SUITE(gate_permute, *boost::unit_test::precondition(test::needs_hopper))

BOOST_DATA_TEST_CASE(r1_gate_matches_the_oracle, boost::unit_test::data::make({0, 1, 2, 33, 128, 256}), tokens) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);

  check(step(r1, tokens % 2 == 0, tokens, 256, seed));
}

// The same slots as FP8's; those that nobody fills keep their poison.
BOOST_DATA_TEST_CASE(bf16_rows_are_copied_as_they_are, boost::unit_test::data::make({0, 1, 33, 256}), tokens) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const step s(r1, tokens % 2 == 1, tokens, tokens == 33 ? 7168 : 256, seed);
  auto want = run(s);
  std::vector<std::uint16_t> rows(want.inputs.size(), 0xFFFF);
  for (std::size_t i = 0; i < want.slot_of.size(); ++i)
    std::copy_n(&s.x[i / s.choices() * s.hidden], s.hidden, &rows[std::size_t(want.slot_of[i]) * s.hidden]);
  want.inputs.assign(reinterpret_cast<const std::uint8_t*>(rows.data()),
                     reinterpret_cast<const std::uint8_t*>(rows.data() + rows.size()));
  want.scales.clear();

  auto got = run(s, false);
  got.scales.clear();
  BOOST_TEST((got == want));
}

BOOST_AUTO_TEST_CASE(other_gates_match_the_oracle) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const route_config tiny{8, 3, 4, 2, false, true, true, true, 1}, plain{64, 6, 1, 1, true, false, true, false, 1},
      best{160, 6, 8, 3, true, true, false, false, 16};
  for (auto c : {tiny, plain, best}) {
    step s(c, false, 19, 128, seed);
    if (c.softmax) s.bias.assign(c.experts, 0.0f); // only noaux_tc has one
    check(s);
  }
}

BOOST_AUTO_TEST_CASE(ties_go_to_the_lowest_index) {
  step s(r1, false, 5, 128, 1);
  std::fill(s.logits.begin(), s.logits.end(), 0.5f);
  std::fill(s.bias.begin(), s.bias.end(), 0.25f);
  const auto got = run(s);

  for (std::size_t i = 0; i < got.chosen.size(); ++i) BOOST_REQUIRE_EQUAL(got.chosen[i], int(i % 8));
  check(s);
}

// Every token to the same experts: the most a slot list must hold, at R1's width.
BOOST_AUTO_TEST_CASE(all_tokens_may_choose_the_same_experts) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  step s(r1, true, 64, 7168, seed);
  for (int t = 1; t < 64; ++t) std::copy_n(s.logits.begin(), 256, s.logits.begin() + t * 256);

  check(s);
}

BOOST_AUTO_TEST_CASE(runs_are_equal_bit_for_bit) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const step s(r1, true, 200, 128, seed);
  const auto first = run(s);
  for (int i = 0; i < 5; ++i) {
    const auto again = run(s);
    BOOST_TEST((again.slot_of == first.slot_of && again.weights == first.weights && again.inputs == first.inputs));
  }
}

BOOST_AUTO_TEST_CASE(not_a_number_stays_inside_its_row) {
  step s(r1, false, 3, 128, 1);
  std::fill_n(s.logits.begin() + 256, 256, NAN);
  const auto got = run(s);

  for (int t : {0, 2})
    for (int j = 0; j < 8; ++j) BOOST_REQUIRE(got.weights[t * 8 + j] > 0);
}

BOOST_AUTO_TEST_SUITE_END()
