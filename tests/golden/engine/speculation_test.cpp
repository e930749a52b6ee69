// Speculation on a real engine: drafts of the demo model's MTP layer change the number of steps, and no bit of any
// answer.
#include "runtime/exec/step_loop.hpp"
#include "tests/support/demo_model.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <iostream>
#include <map>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;

namespace {

constexpr std::size_t request_count = 8;
constexpr int tokens_max = 48;

struct answer {
  std::vector<token_id> tokens;
  std::vector<float> logprobs;
};

struct run_result {
  std::map<std::uint64_t, answer> answers;
  step_stats stats;
};

/// The first prompts of tests/golden/demo, all at once, every second one with penalties.
run_result run(demo_model& m, cpu_dtype dtype, float temperature, bool speculate) {
  auto rig = m.rig(dtype);
  step_loop_options options;
  options.scheduling.speculate = speculate;
  options.scheduling.max_num_seqs = 5; // some wait, and join a step that others speculate in
  options.sampling = {.vocab_size = m.config.vocab_size, .end_tokens = m.config.eos_token_ids};
  step_loop loop(*rig.device, *rig.experts, options);
  for (std::uint64_t id = 0; id < request_count; ++id) {
    generation_request request{.id = request_id{id}, .prompt = m.golden.prompts[id].ids};
    request.sampling = {.temperature = temperature, .seed = id, .max_tokens = tokens_max, .logprobs = 0};
    if (temperature > 0 && id % 2 == 1) request.sampling.repetition_penalty = 1.2f;
    loop.admit(std::move(request), time_point{}).value();
  }

  run_result out;
  while (loop.has_work())
    for (const auto& event : loop.step(time_point{}).value()) {
      auto& of = out.answers[event.id.value];
      of.tokens.push_back(event.token);
      of.logprobs.push_back(event.logprob);
    }
  out.stats = loop.stats();
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(speculation, *boost::unit_test::precondition(has_demo))

BOOST_DATA_TEST_CASE(drafts_change_no_bit_of_an_answer, boost::unit_test::data::make({0.0f, 0.6f, 1.5f}), temperature) {
  demo_model m;
  const auto with = run(m, cpu_dtype::automatic, temperature, true);
  const auto without = run(m, cpu_dtype::automatic, temperature, false);

  BOOST_TEST(with.answers.size() == request_count);
  for (const auto& [id, expected] : without.answers) {
    const auto& got = with.answers.at(id);
    BOOST_TEST_CONTEXT("request " << id) {
      BOOST_TEST(got.tokens == expected.tokens, boost::test_tools::per_element());
      BOOST_TEST(got.logprobs == expected.logprobs, boost::test_tools::per_element());
    }
  }
  const auto& [proposed, accepted] = std::pair(with.stats.drafts_proposed, with.stats.drafts_accepted);
  std::cout << "temperature " << temperature << ": " << accepted << " of " << proposed << " drafts accepted, "
            << with.stats.steps << " steps instead of " << without.stats.steps << std::endl;
  BOOST_TEST(without.stats.drafts_proposed == 0u);
  BOOST_TEST(with.stats.steps < without.stats.steps);
  if (temperature > 1) BOOST_TEST(accepted < proposed); // rejections are what this is about
}

BOOST_AUTO_TEST_CASE(with_drafts_greedy_float32_says_what_transformers_says) {
  demo_model m;
  const auto got = run(m, cpu_dtype::float32, 0, true);

  for (const auto& [id, answer] : got.answers) {
    auto expected = m.golden.prompts[id].greedy;
    expected.resize(std::min<std::size_t>(expected.size(), tokens_max));
    BOOST_TEST(answer.tokens == expected, boost::test_tools::per_element());
  }
  BOOST_TEST(got.stats.drafts_accepted > 0u);
}

BOOST_AUTO_TEST_SUITE_END()
