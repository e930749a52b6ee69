// The arithmetic that a CPU and a GPU choose tokens by, against its definition in long double.
#include "kernels/cpu/sample.hpp"
#include "kernels/ref/sampling.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

using namespace troupe;
using namespace troupe::kernels;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

token_draw at_temperature(float temperature) { return {.inverse_temperature = 1 / temperature}; }

std::vector<float> random_logits(std::mt19937_64& random, std::size_t count, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (auto& x : logits) x = normal(random);
  return logits;
}

/// Half the sum of the differences between the probabilities of the weights and those of the definition.
double total_variation(const std::vector<float>& logits, float temperature) {
  const auto p = ref::distribution(logits, {.temperature = temperature}, {}, 0);
  const float best = *std::max_element(logits.begin(), logits.end());
  std::vector<std::uint64_t> weights;
  for (const float x : logits) weights.push_back(weight_of(x, best, at_temperature(temperature)));
  const auto mass = static_cast<long double>(std::accumulate(weights.begin(), weights.end(), std::uint64_t{0}));
  long double distance = 0;
  for (std::size_t i = 0; i < p.size(); ++i) distance += std::abs(weights[i] / mass - p[i]) / 2;
  return static_cast<double>(distance);
}

} // namespace

BOOST_AUTO_TEST_SUITE(sample)

BOOST_AUTO_TEST_CASE(weights_are_those_of_the_definition) {
  std::mt19937_64 random(testing::fresh_seed());
  std::uniform_real_distribution<float> nats(0, 31.9f);
  double worst = 0;
  for (int i = 0; i < 200'000; ++i) {
    const float distance = nats(random);
    const long double want = std::exp(-static_cast<long double>(distance)) * 0x1p40L;
    const auto got = static_cast<long double>(weight_of(-distance, 0, at_temperature(1)));
    worst = std::max(worst, static_cast<double>(std::abs(got - want) / (want * 0x1p-26L + 2)));
  }
  BOOST_TEST(worst <= 1);
  BOOST_TEST(weight_of(-1.5f, -1.5f, at_temperature(0.01f)) == weight_of_best);
  BOOST_TEST(weight_of(-infinity, 3, at_temperature(1e30f)) == 0u);
  BOOST_TEST(weight_of(-3e38f, 3e38f, at_temperature(1)) == 0u);
}

/// Over neighbouring distances everywhere: two octaves whole, and around the ends of all.
BOOST_AUTO_TEST_CASE(a_weight_never_grows_while_the_score_falls) {
  std::uint64_t grown = 0, last = weight_of_best;
  const auto look = [&](float distance) {
    const auto weight = weight_of(-distance, 0, at_temperature(1));
    grown += weight > last, last = weight;
  };
  for (float x = 0.25f; x < 1; x = std::nextafter(x, infinity)) look(x);
  for (int octave = 1; octave < 46; ++octave) {
    const float end = static_cast<float>(octave) * 0.69314718f;
    float x = end - 1e-4f * end;
    for (last = weight_of_best; x < end + 1e-4f * end; x = std::nextafter(x, infinity)) look(x);
  }
  BOOST_TEST(grown == 0u);
}

BOOST_AUTO_TEST_CASE(the_distribution_is_that_of_the_definition) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const float spread : {0.01f, 1.0f, 3.0f, 10.0f})
    for (const float temperature : {0.3f, 0.6f, 1.0f, 2.0f})
      for (const std::size_t vocab : {2, 1000, 129280}) {
        const auto distance = total_variation(random_logits(random, vocab, spread), temperature);
        BOOST_TEST(distance < 1e-6, "deviation " << spread << ", temperature " << temperature << ", vocabulary "
                                                 << vocab << ": total variation " << distance);
      }
}

BOOST_AUTO_TEST_CASE(orders_ascend_with_scores) {
  const std::vector<float> scores{-infinity, -3e38f, -1, -1e-45f, 0, 1e-45f, 0.5f, 1, 3e38f};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    BOOST_TEST(score_of(order_of(scores[i])) == scores[i]);
    if (i > 0) BOOST_TEST(order_of(scores[i - 1]) < order_of(scores[i]));
  }
  BOOST_TEST(order_of(-0.0f) == order_of(0.0f));
}

BOOST_AUTO_TEST_CASE(shares_are_exact) {
  constexpr auto half = std::uint64_t{1} << 63;
  BOOST_TEST(share_of(7, half) == 3u);
  BOOST_TEST(share_of(~std::uint64_t{0}, ~std::uint64_t{0}) == ~std::uint64_t{0} - 1);
  BOOST_TEST(mass_wanted(8, half) == 4u);
  BOOST_TEST(mass_wanted(7, half) == 4u);
  BOOST_TEST(mass_wanted(weight_of_best, 1) == 1u); // the best token stays, whatever top-p is
  BOOST_TEST(ties_wanted(1, 5) == 1u);
  BOOST_TEST(ties_wanted(10, 5) == 2u);
  BOOST_TEST(ties_wanted(11, 5) == 3u);
}

BOOST_AUTO_TEST_CASE(edits_come_first) {
  token_sampler sampler;
  const std::vector<float> logits{1, 4, 3, 2};
  token_draw draw; // the best
  draw.repetition_penalty = 2, draw.presence_penalty = 1.25f, draw.frequency_penalty = 0.25f;
  const std::vector<score_edit> none{}, prompt{{1, 0}}, output{{1, 0}, {2, 1}}, most{{1, 0}, {2, 1}, {3, forbidden}};
  BOOST_TEST(sampler.sample(logits, 4, draw, none) == 1);
  BOOST_TEST(sampler.sample(logits, 4, draw, prompt) == 2);
  BOOST_TEST(sampler.sample(logits, 4, draw, output) == 1); // 2 against 3 / 2 - 1.5, yet the last has 2, too
  BOOST_TEST(sampler.sample(logits, 3, draw, most) == 1);
  BOOST_TEST(sampler.sample(logits, 1, draw, std::vector<score_edit>{{0, forbidden}}) == -1);
}

BOOST_AUTO_TEST_SUITE_END()
