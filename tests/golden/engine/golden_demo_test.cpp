// The CPU engine against transformers on the demo model: R1's dimensions per head, FP8 weights
// (tests/golden/README.md).
#include "tests/support/demo_model.hpp"
#include "tests/support/golden_runs.hpp"

#include <boost/test/unit_test.hpp>
#include <iostream>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;

namespace {

constexpr double tolerance = 1e-4;

} // namespace

BOOST_AUTO_TEST_SUITE(golden_demo, *boost::unit_test::precondition(has_demo))

BOOST_AUTO_TEST_CASE(float32_continues_all_prompts_as_transformers_does) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::float32);
  BOOST_TEST(m.golden.prompts.size() >= 50u);
  std::size_t tokens = 0;
  for (const auto& prompt : m.golden.prompts) {
    const auto got = run_greedy(rig, prompt.ids, 64, m.config.eos_token_ids.front());
    BOOST_TEST(got == prompt.greedy, boost::test_tools::per_element());
    tokens += got.size();
  }
  std::cout << "demo: " << m.golden.prompts.size() << " prompts, " << tokens << " tokens continued" << std::endl;
}

/// The 656-byte cache is an approximation, so this says how good it is on a small model.
BOOST_AUTO_TEST_CASE(an_fp8_cache_continues_nearly_all_prompts_alike) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::bfloat16, cache_dtype::fp8_ds_mla);
  std::size_t same = 0, all = 0;
  for (const auto& prompt : m.golden.prompts) {
    const auto got = run_greedy(rig, prompt.ids, 64, m.config.eos_token_ids.front());
    same += tokens_alike(got, prompt.greedy), all += std::max(got.size(), prompt.greedy.size());
  }
  std::cout << "demo: with an FP8 cache " << same << " of " << all << " greedy tokens are transformers'" << std::endl;
  BOOST_TEST(double(same) >= 0.97 * double(all));
}

BOOST_AUTO_TEST_CASE(float32_logits_are_those_of_transformers) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::float32);
  const double worst = largest_error(m.golden, rig);
  std::cout << "demo: largest float32 logit difference " << worst << std::endl;
  BOOST_TEST(worst <= tolerance);
}

BOOST_AUTO_TEST_CASE(gates_choose_the_experts_transformers_chooses) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::float32);
  int checked = 0;
  for (std::size_t p = 0; p < m.golden.prompts.size(); ++p) {
    const auto* experts = m.golden.find(p, "router_experts");
    if (!experts) continue;
    const auto got = run_gates(rig, m.golden.prompts[p].ids);
    BOOST_TEST(got.experts == experts->values);
    BOOST_TEST(largest_difference(m.golden.tensor(p, "router_weights").values, {got.weights}) <= tolerance);
    ++checked;
  }
  BOOST_TEST(checked >= 2);
}

BOOST_AUTO_TEST_CASE(mtp_logits_are_those_of_the_python_reference) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::float32);
  double worst = 0;
  int checked = 0;
  for (std::size_t p = 0; p < m.golden.prompts.size(); ++p) {
    const auto* want = m.golden.find(p, "mtp_logits_f32");
    if (!want) continue;
    const auto got = run_drafts(rig, m.golden.prompts[p].ids, static_cast<std::size_t>(want->shape[0]));
    worst = std::max(worst, largest_difference(want->values, got));
    ++checked;
  }
  std::cout << "demo: largest float32 MTP logit difference " << worst << std::endl;
  BOOST_TEST(worst <= tolerance);
  BOOST_TEST(checked >= 4);
}

BOOST_AUTO_TEST_CASE(bfloat16_errs_no_more_than_transformers_does) {
  demo_model m;
  auto rig = m.rig(cpu_dtype::bfloat16);
  const double worst = largest_error(m.golden, rig);
  std::cout << "demo: largest bfloat16 logit error " << worst << ", transformers' " << m.golden.bf16_error_max
            << std::endl;
  BOOST_TEST(worst <= 1.5 * m.golden.bf16_error_max);
}

BOOST_AUTO_TEST_SUITE_END()
