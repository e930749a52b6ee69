#include "kernels/cpu/router.hpp"
#include "kernels/ref/attention.hpp"
#include "kernels/ref/dense.hpp"
#include "tests/unit/kernels/support.hpp"

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

struct routed {
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

routed choose(const gate_config& c, const std::vector<float>& logits, const std::vector<float>& bias) {
  routed r{std::vector<std::int32_t>(c.top_k, -1), std::vector<float>(c.top_k, poison)};
  choose_experts(c, logits.data(), bias.empty() ? nullptr : bias.data(), r.experts.data(), r.weights.data());
  return r;
}

const gate_config r1{.experts = 256, .top_k = 8, .groups = 8, .groups_kept = 4, .scaling = 2.5f};

} // namespace

BOOST_AUTO_TEST_SUITE(router)

BOOST_AUTO_TEST_CASE(equals_the_reference_for_every_method) {
  random_source random;
  const gate_config v2_lite{
      .experts = 64, .top_k = 6, .scoring = gate_scoring::softmax, .method = gate_method::greedy, .normalise = false};
  const gate_config v2{.experts = 160,
                       .top_k = 6,
                       .groups = 8,
                       .groups_kept = 3,
                       .scoring = gate_scoring::softmax,
                       .method = gate_method::group_limited_greedy,
                       .normalise = false,
                       .scaling = 16};
  const gate_config one_group{.experts = 8, .top_k = 3, .scaling = 1};
  for (const auto& c : {r1, v2_lite, v2, one_group})
    for (int trial = 0; trial < 200; ++trial) {
      const auto logits = random.normals(c.experts);
      std::vector<float> bias;
      if (c.method == gate_method::noaux_tc)
        for (int e = 0; e < c.experts; ++e)
          bias.push_back(random.uniform(-1, 1)); // negative too: masked is -inf, not 0

      const auto got = choose(c, logits, bias);
      const auto want = ref::choose_experts(c, as_doubles(logits), as_doubles(bias));

      BOOST_TEST(got.experts == want.experts, boost::test_tools::per_element());
      BOOST_TEST(largest_error(got.weights.data(), want.weights, 1) < 1e-5 * c.scaling);
    }
}

BOOST_AUTO_TEST_CASE(breaks_ties_by_the_lowest_index) {
  const auto got = choose(r1, std::vector<float>(256, 0.25f), {});

  const std::vector<std::int32_t> first{0, 1, 2, 3, 4, 5, 6, 7};
  BOOST_TEST(got.experts == first, boost::test_tools::per_element());
  for (const float w : got.weights) BOOST_TEST(w == 2.5f / 8);
}

BOOST_AUTO_TEST_CASE(uses_the_bias_to_choose_but_not_to_weigh) {
  const gate_config c{.experts = 4, .top_k = 1, .normalise = false};
  const auto got = choose(c, {3, 0, 0, 0}, {0, 0, 9, 0});

  BOOST_TEST(got.experts[0] == 2);
  BOOST_TEST(got.weights[0] == 0.5f);
}

BOOST_AUTO_TEST_CASE(routes_rows_alike_alone_and_in_a_batch) {
  random_source random;
  const std::int64_t hidden = 200, n = 50;
  const auto w = make_weights(random, tensor_type::bf16, r1.experts, hidden);
  std::vector<float> bias(static_cast<std::size_t>(r1.experts));
  for (auto& b : bias) b = random.uniform(1, 3);
  const auto x = random.normals(n * hidden);
  thread_pool pool(2);
  for (const auto set : supported_isas()) {
    const troupe::kernels::router gate(r1, w.view, bias, set);
    std::vector<std::int32_t> experts(n * 8, -1), alone(8, -1);
    std::vector<float> weights(n * 8, poison), alone_weights(8, poison);
    gate.route(pool, x.data(), hidden, n, experts.data(), weights.data());

    const auto logits = ref::matmul(as_doubles(x), n, w.view);
    for (std::int64_t r = 0; r < n; ++r) {
      gate.route(pool, x.data() + r * hidden, hidden, 1, alone.data(), alone_weights.data());
      BOOST_TEST(std::equal(alone.begin(), alone.end(), experts.begin() + r * 8));
      BOOST_TEST(same_bits(alone_weights.data(), weights.data() + r * 8, 8));
      const auto want =
          ref::choose_experts(r1, {logits.begin() + r * 256, logits.begin() + (r + 1) * 256}, as_doubles(bias));
      BOOST_TEST(alone == want.experts, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
