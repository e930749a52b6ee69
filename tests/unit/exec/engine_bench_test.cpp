#include "runtime/exec/engine_bench.hpp"
#include "runtime/exec/engine_bench_cost.hpp"
#include "runtime/exec/random_weights.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::exec;

BOOST_AUTO_TEST_SUITE(engine_bench)

BOOST_AUTO_TEST_CASE(a_tiny_run_has_a_row_for_each_batch_and_one_for_prefill) {
  bench_options options;
  options.shape = "tiny";
  options.cpu.threads = 1;
  options.batches = {1, 4};
  options.context = 20;
  options.decode_steps = 2;
  options.prefill_tokens = {32};
  options.stream_bytes = 1 << 20;

  const auto rows = bench_engine(options).value();

  BOOST_REQUIRE(rows.size() == 3);
  BOOST_TEST(rows[1].phase == "decode");
  BOOST_TEST(rows[1].batch == 4);
  BOOST_TEST(rows[2].phase == "prefill");
  for (const auto& row : rows) {
    BOOST_TEST(row.tokens_per_s > 0);
    BOOST_TEST(row.fraction > 0);
    BOOST_TEST(row.dtype == "bf16");
  }
  BOOST_TEST(rows[0].bytes_per_token > rows[1].bytes_per_token); // weights are shared by the batch
}

BOOST_AUTO_TEST_CASE(an_unknown_shape_is_named) {
  const auto outcome = bench_engine({.shape = "huge", .cpu = {}});
  BOOST_REQUIRE(!outcome);
  BOOST_TEST(outcome.error().message.find("huge") != std::string::npos);
}

// model-spec.md section 1: a main layer of R1 with its gate has 11.5 B parameters, of which one token uses 0.58 B.
BOOST_AUTO_TEST_CASE(parameters_and_operations_of_r1_are_those_of_its_specification) {
  const auto one = named_shape("r1-slice", 1).value(), two = named_shape("r1-slice", 2).value();

  const std::int64_t mla = 187'105'280;
  const std::int64_t expert = 44'040'192, gate = 1'835'008;
  BOOST_TEST(parameter_count(two) - parameter_count(one) == mla + 257 * expert + gate);

  const double pair = 2.0 * 128 * (576 + 512);
  BOOST_TEST(step_flops(two, 1, 1, 0) - step_flops(one, 1, 1, 0) == 2.0 * (mla + 9 * expert + gate) + pair);
}

BOOST_AUTO_TEST_SUITE_END()
