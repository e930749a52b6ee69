#include "runtime/exec/sampler.hpp"

#include "kernels/ref/sampling.hpp"
#include "runtime/core/philox.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

using namespace troupe;
using namespace troupe::exec;
using kernels::ref::distribution;
using kernels::ref::inverse_cdf;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(std::mt19937_64& random, std::size_t vocab) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(vocab);
  for (auto& logit : logits) logit = normal(random);
  return logits;
}

kernels::ref::sampling_rule rule_of(const sampling_params& p) {
  return {p.temperature, p.top_k, p.top_p, p.min_p, p.repetition_penalty, p.presence_penalty, p.frequency_penalty};
}

sampler make_sampler(int vocab, std::vector<token_id> ends = {}) {
  return sampler({.vocab_size = vocab, .end_tokens = std::move(ends)});
}

token_id choose(sampler& s, const std::vector<float>& logits, const sampling_params& params,
                const std::vector<token_id>& tokens = {0}) {
  return s.sample(logits, params, tokens, 1).value().token;
}

} // namespace

BOOST_AUTO_TEST_SUITE(sampler)

BOOST_AUTO_TEST_CASE(greedy_takes_the_lowest_id_of_equals) {
  auto s = make_sampler(4);
  sampling_params greedy;
  greedy.temperature = 0;
  BOOST_TEST(choose(s, {1, 3, 3, 2}, greedy) == 1);
  BOOST_TEST(choose(s, {-infinity, -infinity, -5, -infinity}, greedy) == 2);
}

BOOST_AUTO_TEST_CASE(agrees_with_the_definitions_for_random_parameters) {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      std::mt19937_64 random(seed);
      const auto pick = [&](auto... values) {
        const std::array options{values...};
        return options[random() % options.size()];
      };
      const auto vocab = pick(2, 50, 700);
      auto s = make_sampler(vocab);
      auto logits = random_logits(random, static_cast<std::size_t>(vocab));
      if (random() % 3 == 0) // many ties
        for (auto& logit : logits) logit = std::round(logit);
      sampling_params params;
      params.temperature = pick(0.3f, 1.0f, 2.0f);
      params.top_k = pick(0, 1, 5, 1000);
      params.top_p = pick(1.0f, 0.95f, 0.5f, 0.999f);
      params.min_p = pick(0.0f, 0.05f);
      params.repetition_penalty = pick(1.0f, 1.3f);
      params.presence_penalty = pick(0.0f, 0.7f);
      params.frequency_penalty = pick(0.0f, 0.4f, -0.2f);
      params.seed = random();
      std::vector<token_id> tokens(2 + random() % 60);
      for (auto& token : tokens) token = static_cast<token_id>(random() % static_cast<unsigned>(vocab));
      const auto prompt_size = 1 + static_cast<int>(random() % tokens.size());

      const auto chosen = s.sample(logits, params, tokens, prompt_size).value().token;

      const auto u =
          std::ldexp(static_cast<long double>(philox_bits(params.seed, tokens.size(), draw_stream::target)), -64);
      BOOST_TEST(chosen == inverse_cdf(distribution(logits, rule_of(params), tokens, prompt_size), u));
    }
  }
}

// Pearson's test over 20,000 positions of one seed; 37.7 is the 0.999 quantile of chi-square with 15 degrees of
// freedom.
BOOST_AUTO_TEST_CASE(draws_follow_the_distribution) {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    std::mt19937_64 random(seed);
    auto s = make_sampler(16);
    const auto logits = random_logits(random, 16);
    sampling_params params;
    params.seed = seed;
    std::vector<double> seen(16);
    std::vector<token_id> tokens;
    constexpr int draws = 20'000;
    for (int i = 0; i < draws; ++i) {
      tokens.push_back(0);
      seen[static_cast<std::size_t>(s.sample(logits, params, tokens, 1).value().token)] += 1;
    }

    const auto p = distribution(logits, rule_of(params), {0}, 1);
    long double chi_square = 0;
    for (std::size_t t = 0; t < 16; ++t) chi_square += std::pow(seen[t] - draws * p[t], 2) / (draws * p[t]);

    BOOST_TEST(chi_square < 37.7, "seed " << seed << ": chi-square " << chi_square);
  }
}

BOOST_AUTO_TEST_CASE(a_draw_depends_on_seed_and_position_only) {
  auto s = make_sampler(50);
  const std::vector<float> flat(50, 0.0f);
  sampling_params params;
  params.seed = 5;

  const auto first = choose(s, flat, params, {1, 2, 3});
  choose(s, flat, params, {1, 2});
  BOOST_TEST(choose(s, flat, params, {9, 9, 9}) == first);

  std::map<token_id, int> by_seed;
  for (params.seed = 0; params.seed < 20; ++params.seed) ++by_seed[choose(s, flat, params, {1, 2, 3})];
  BOOST_TEST(by_seed.size() > 5u);
}

BOOST_AUTO_TEST_CASE(the_tightest_filters_leave_the_best_token) {
  std::mt19937_64 random(11);
  auto s = make_sampler(300);
  const auto logits = random_logits(random, 300);
  const auto best = static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    sampling_params params;
    params.seed = seed;
    params.temperature = 10;
    auto tight_k = params, tight_p = params, zero_p = params, tight_min = params, cold = params;
    tight_k.top_k = 1;
    tight_p.top_p = 1e-6f;
    zero_p.top_p = 0;
    tight_min.min_p = 1;
    cold.temperature = 1e-6f;
    for (const auto& tight : {tight_k, tight_p, zero_p, tight_min, cold}) BOOST_TEST(choose(s, logits, tight) == best);
  }
}

BOOST_AUTO_TEST_CASE(top_p_stops_as_soon_as_its_mass_is_reached) {
  auto s = make_sampler(4);
  sampling_params params;
  params.top_p = 0.5f;
  std::map<token_id, int> seen;
  for (params.seed = 0; params.seed < 50; ++params.seed) ++seen[choose(s, {1, 1, 1, 1}, params)];
  BOOST_TEST(seen.size() == 2u);
  BOOST_TEST(seen.rbegin()->first == 1);
}

BOOST_AUTO_TEST_CASE(ids_beyond_the_tokenizer_are_never_chosen) {
  auto s = make_sampler(3);
  sampling_params params;
  for (params.seed = 0; params.seed < 50; ++params.seed) BOOST_TEST(choose(s, {0, 0, 0, 90, 90}, params) < 3);
}

BOOST_AUTO_TEST_CASE(end_tokens_wait_for_min_tokens) {
  auto s = make_sampler(4, {3});
  sampling_params params;
  params.temperature = 0;
  params.min_tokens = 2;
  params.stop_token_ids = {2};
  const std::vector<float> logits{0, 1, 8, 9};

  BOOST_TEST(choose(s, logits, params, {0, 1}) == 1);
  BOOST_TEST(choose(s, logits, params, {0, 1, 1}) == 3);
}

BOOST_AUTO_TEST_CASE(what_ends_a_sequence) {
  const auto s = make_sampler(9, {3});
  sampling_params params;
  params.max_tokens = 5;
  params.stop_token_ids = {4};
  BOOST_TEST((s.finish_of(3, params, 1) == finish_reason::stop));
  BOOST_TEST((s.finish_of(4, params, 5) == finish_reason::stop));
  BOOST_TEST((s.finish_of(1, params, 4) == finish_reason::none));
  BOOST_TEST((s.finish_of(1, params, 5) == finish_reason::length));
  params.ignore_eos = true;
  BOOST_TEST((s.finish_of(3, params, 1) == finish_reason::none));
}

BOOST_AUTO_TEST_CASE(logprobs_are_of_the_raw_distribution) {
  auto s = make_sampler(3);
  sampling_params params;
  params.temperature = 0;
  params.repetition_penalty = 100;
  params.logprobs = 2;
  const std::vector<float> logits{2, 1, 0, 2}; // id 3 is padding, yet has its share of the mass

  const auto chosen = s.sample(logits, params, std::vector<token_id>{0}, 1).value();

  const double mass = 2 * std::exp(2.0) + std::exp(1.0) + 1;
  BOOST_TEST(chosen.token == 1);
  BOOST_TEST(chosen.logprob == 1 - std::log(mass), boost::test_tools::tolerance(1e-6));
  BOOST_REQUIRE(chosen.top.size() == 2u);
  BOOST_TEST(chosen.top[0].token == 0);
  BOOST_TEST(chosen.top[1].token == 3);
  BOOST_TEST(chosen.top[0].logprob == 2 - std::log(mass), boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(broken_logits_are_an_error) {
  auto s = make_sampler(2);
  sampling_params params;
  const std::vector<token_id> tokens{0};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& logits : {std::vector<float>{0, nan}, {nan, 0}, {0, infinity}, {-infinity, -infinity}}) {
    const auto chosen = s.sample(logits, params, tokens, 1);
    BOOST_REQUIRE(!chosen);
    BOOST_TEST((chosen.error().code == errc::bug));
  }
  BOOST_TEST(!s.sample(std::vector<float>{-infinity, -infinity, 1}, params, tokens, 1)); // only padding is left
  BOOST_TEST(!s.score(std::vector<float>{0, 1}, 2, 0));
}

BOOST_AUTO_TEST_CASE(parameters_out_of_range_are_named) {
  sampling_params params;
  BOOST_TEST(validate(params).has_value());
  params.top_p = 1.5f;
  BOOST_TEST(validate(params).error().message == "top_p: must be between 0 and 1, is 1.5");
  params.top_p = std::numeric_limits<float>::quiet_NaN();
  BOOST_TEST(!validate(params));
  params = {};
  params.logprobs = 21;
  BOOST_TEST((validate(params).error().code == errc::bad_input));
}

BOOST_AUTO_TEST_SUITE_END()
