// The CPU engine against transformers on T0, T1 and the variants of model-spec.md 14 (tests/golden/README.md).
#include "runtime/model/checkpoint.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/golden_runs.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <iostream>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;

namespace {

const std::vector<std::string> cases = {
    "t0",           "t1",          "t0_no_q_lora", "t0_one_group", "t0_raw_weights", "t0_no_yarn", "t0_two_shared",
    "t0_v2_greedy", "t0_v2_groups"};
constexpr double logit_tolerance = 1e-4;

struct tiny_model {
  explicit tiny_model(const std::string& name)
      : golden(load_golden(golden_dir() / name)), config(model::load_config(golden_dir() / name).value()),
        weights(model::checkpoint::open(golden_dir() / name).value(), config) {}

  engine_rig rig(cpu_dtype dtype) { return make_rig(weights, config, {.dtype = dtype}); }

  golden_case golden;
  model::model_config config;
  checkpoint_weights weights;
};

} // namespace

BOOST_AUTO_TEST_SUITE(golden_tiny)

BOOST_DATA_TEST_CASE(float32_logits_are_those_of_transformers, boost::unit_test::data::make(cases), name) {
  tiny_model m(name);
  auto rig = m.rig(cpu_dtype::float32);
  const double worst = largest_error(m.golden, rig);
  std::cout << name << ": largest float32 logit difference " << worst << std::endl;
  BOOST_TEST(worst <= logit_tolerance);
}

BOOST_DATA_TEST_CASE(gates_choose_the_experts_transformers_chooses, boost::unit_test::data::make(cases), name) {
  tiny_model m(name);
  auto rig = m.rig(cpu_dtype::float32);
  for (std::size_t p = 0; p < m.golden.prompts.size(); ++p) {
    const auto got = run_gates(rig, m.golden.prompts[p].ids);
    BOOST_TEST(got.experts == m.golden.tensor(p, "router_experts").values);
    BOOST_TEST(largest_difference(m.golden.tensor(p, "router_weights").values, {got.weights}) <= logit_tolerance);
  }
}

BOOST_DATA_TEST_CASE(greedy_continuations_are_those_of_transformers, boost::unit_test::data::make(cases), name) {
  tiny_model m(name);
  auto rig = m.rig(cpu_dtype::float32);
  for (const auto& prompt : m.golden.prompts)
    BOOST_TEST(run_greedy(rig, prompt.ids, prompt.greedy.size(), -1) == prompt.greedy,
               boost::test_tools::per_element());
}

BOOST_DATA_TEST_CASE(bfloat16_errs_no_more_than_transformers_does, boost::unit_test::data::make(cases), name) {
  tiny_model m(name);
  auto rig = m.rig(cpu_dtype::bfloat16);
  const double worst = largest_error(m.golden, rig);
  std::cout << name << ": largest bfloat16 logit error " << worst << ", transformers' " << m.golden.bf16_error_max
            << std::endl;
  BOOST_TEST(worst <= 1.5 * m.golden.bf16_error_max);
}

BOOST_AUTO_TEST_CASE(mtp_logits_are_those_of_the_python_reference) {
  tiny_model m("t0");
  auto rig = m.rig(cpu_dtype::float32);
  int checked = 0;
  for (std::size_t p = 0; p < m.golden.prompts.size(); ++p) {
    const auto* want = m.golden.find(p, "mtp_logits_f32");
    if (!want) continue;
    const auto got = run_drafts(rig, m.golden.prompts[p].ids, static_cast<std::size_t>(want->shape[0]));
    BOOST_TEST(largest_difference(want->values, got) <= logit_tolerance);
    ++checked;
  }
  BOOST_TEST(checked >= 3);
}

BOOST_AUTO_TEST_SUITE_END()
