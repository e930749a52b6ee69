// The gate against the CPU's choice over logits in double, and the slots it gives to experts.
#include "kernels/cpu/router.hpp"
#include "kernels/cuda/route.hpp"
#include "kernels/ref/attention.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <cmath>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;

namespace {

struct variant {
  const char* name;
  kernels::gate_config gate;
  int hidden;
};
std::ostream& operator<<(std::ostream& out, const variant& v) { return out << v.name; }

using enum kernels::gate_method;
using enum kernels::gate_scoring;
const std::vector<variant> variants = {
    {"R1", {256, 8, 8, 4, sigmoid, noaux_tc, true, 2.5f}, 7168},
    {"demo", {16, 4, 4, 2, sigmoid, noaux_tc, true, 2.5f}, 256},
    {"one group", {8, 3, 1, 1, sigmoid, noaux_tc, false, 1}, 64},
    {"V2-Lite", {64, 6, 1, 1, softmax, greedy, false, 1}, 2048},
    {"V2", {160, 6, 8, 3, softmax, group_limited_greedy, false, 16}, 1280},
};

} // namespace

BOOST_AUTO_TEST_SUITE(engine_route, *boost::unit_test::precondition(test::needs_gpu))

BOOST_DATA_TEST_CASE(chooses_what_the_cpu_chooses, boost::unit_test::data::make(variants), v) {
  std::mt19937_64 random(testing::fresh_seed());
  std::normal_distribution<float> normal;
  const int tokens = 33, experts = int(v.gate.experts), top_k = int(v.gate.top_k);
  std::vector<std::uint16_t> x(std::size_t(tokens) * v.hidden), w(std::size_t(experts) * v.hidden);
  for (auto& e : x) e = kernels::float_to_bf16(normal(random));
  for (auto& e : w) e = kernels::float_to_bf16(2 * normal(random) / std::sqrt(float(v.hidden)));
  std::vector<float> bias(experts);
  for (auto& b : bias) b = std::uniform_real_distribution<float>(1, 3)(random);
  const bool biased = v.gate.method == noaux_tc;

  route_config c;
  c.experts = experts, c.top_k = top_k, c.groups = int(v.gate.groups), c.groups_kept = int(v.gate.groups_kept);
  c.softmax = v.gate.scoring == softmax, c.limited = v.gate.method != greedy && c.groups > 1;
  c.pair_scores = biased, c.normalise = v.gate.normalise, c.scaling = v.gate.scaling;
  const test::device_buffer<std::uint16_t> d_x(x), d_w(w);
  const test::device_buffer<float> d_bias(bias), weights(tokens * top_k);
  const test::device_buffer<int> chosen(tokens * top_k);
  BOOST_REQUIRE_EQUAL(route_rows(c, d_x.get(), d_w.get(), biased ? d_bias.get() : nullptr, tokens, v.hidden,
                                 chosen.get(), weights.get(), nullptr),
                      cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto got = chosen.host();
  const auto got_weights = weights.host();
  int other = 0;
  double worst = 0;
  for (int t = 0; t < tokens; ++t) {
    std::vector<double> logits(experts);
    for (int e = 0; e < experts; ++e)
      for (int i = 0; i < v.hidden; ++i)
        logits[e] +=
            double(bf16_to_float(x[std::size_t(t) * v.hidden + i])) * bf16_to_float(w[std::size_t(e) * v.hidden + i]);
    const auto want = kernels::ref::choose_experts(v.gate, logits, {bias.begin(), bias.end()});
    if (!std::equal(want.experts.begin(), want.experts.end(), &got[t * top_k])) {
      ++other; // two candidates within rounding of each other
      continue;
    }
    for (int j = 0; j < top_k; ++j)
      worst = std::max(worst, std::abs(got_weights[t * top_k + j] - want.weights[j]) / (want.weights[j] + 1e-9));
  }
  BOOST_TEST(other <= 1);
  BOOST_TEST(worst <= 1e-4);
}

/// [tokens, top_k], ascending and distinct; some experts stay rare, the last two without any.
std::vector<int> random_choices(int tokens, int top_k, int experts) {
  std::mt19937_64 random(testing::fresh_seed());
  std::vector<int> chosen;
  for (int t = 0; t < tokens; ++t) {
    const int first = testing::pick(random, 0, experts - top_k - 2);
    for (int j = 0; j < top_k; ++j) chosen.push_back(first + j);
  }
  return chosen;
}

BOOST_AUTO_TEST_CASE(every_choice_gets_a_slot_of_its_expert_in_order) {
  const int tokens = 77, top_k = 3, experts = 9, rows_max = 80;
  const auto chosen = random_choices(tokens, top_k, experts);
  const test::device_buffer<int> d_chosen(chosen), rows(experts), token_of(experts * rows_max), slot_of(tokens * top_k);
  BOOST_REQUIRE_EQUAL(
      place_rows(d_chosen.get(), tokens, top_k, experts, rows_max, rows.get(), token_of.get(), slot_of.get(), nullptr),
      cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  std::vector<int> want_rows(experts), want_slots;
  for (const int e : chosen) want_slots.push_back(e * rows_max + want_rows[e]++);
  const auto got_tokens = token_of.host();
  int wrong = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) wrong += got_tokens[want_slots[i]] != int(i) / top_k;
  BOOST_TEST((rows.host() == want_rows));
  BOOST_TEST((slot_of.host() == want_slots));
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(only_choices_of_owned_experts_get_slots) {
  const int tokens = 77, top_k = 3, experts = 9, rows_max = 80;
  const std::vector<int> owned{7, 2, 3};
  const auto chosen = random_choices(tokens, top_k, experts);
  const test::device_buffer<int> d_chosen(chosen), d_owned(owned), rows(owned.size()),
      token_of(owned.size() * rows_max), slot_of(tokens * top_k);
  BOOST_REQUIRE_EQUAL(place_owned_rows(d_chosen.get(), tokens, top_k, d_owned.get(), int(owned.size()), rows_max,
                                       rows.get(), token_of.get(), slot_of.get(), nullptr),
                      cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  std::vector<int> want_rows(owned.size()), want_slots;
  for (const int e : chosen) {
    const auto place = std::find(owned.begin(), owned.end(), e) - owned.begin();
    want_slots.push_back(place < std::ssize(owned) ? int(place) * rows_max + want_rows[place]++ : -1);
  }
  const auto got_tokens = token_of.host();
  int wrong = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i)
    wrong += want_slots[i] >= 0 && got_tokens[want_slots[i]] != int(i) / top_k;
  BOOST_TEST((rows.host() == want_rows));
  BOOST_TEST((slot_of.host() == want_slots)); // poison where there is none
  BOOST_TEST(wrong == 0);
}

BOOST_DATA_TEST_CASE(sorted_choices_have_no_gaps, boost::unit_test::data::make({0, 1, 127, 128, 129, 1000, 4097}),
                     tokens) {
  const int top_k = 8, experts = 40;
  const auto chosen = random_choices(tokens, top_k, experts);
  const test::device_buffer<int> d_chosen(chosen), segments(experts + 1), token_of(tokens * top_k),
      slot_of(tokens * top_k);
  BOOST_REQUIRE_EQUAL(
      sort_rows(d_chosen.get(), tokens, top_k, experts, segments.get(), token_of.get(), slot_of.get(), nullptr),
      cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  std::vector<int> want_segments(experts + 1), want_slots, want_tokens(chosen.size());
  for (const int e : chosen)
    for (int later = e + 1; later <= experts; ++later) ++want_segments[later];
  auto next = want_segments;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    want_slots.push_back(next[chosen[i]]++);
    want_tokens[want_slots.back()] = int(i) / top_k;
  }
  BOOST_TEST((segments.host() == want_segments));
  BOOST_TEST((slot_of.host() == want_slots));
  BOOST_TEST((token_of.host() == want_tokens));
}

BOOST_AUTO_TEST_SUITE_END()
