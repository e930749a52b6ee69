// The plan of a cluster against figures worked out by hand (reference/kernels.md section 2).
#include "runtime/exec/capacity.hpp"
#include "runtime/exec/random_weights.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::exec;

namespace {

/// The data sheet's H100, links that cost nothing.
cluster_shape ideal(int gpus, double read_rate = 3.35e12) {
  return {.groups = {{gpus, {"ideal", 80e9, read_rate, 800e12, 1600e12, 1e18, false}}}, .network_rate = 1e18};
}

const auto r1 = named_shape("r1").value();

double step_ms(int gpus, int batch, double read_rate) {
  return 1e3 * plan_decode(r1, ideal(gpus, read_rate), {}, {.batch = batch, .context = 4096}).total();
}

} // namespace

BOOST_AUTO_TEST_SUITE(capacity)

BOOST_AUTO_TEST_CASE(ideal_decode_steps_of_r1_are_those_of_the_roofline) {
  const auto close = boost::test_tools::tolerance(0.05);
  BOOST_TEST(step_ms(16, 64, 3.35e12) == 23, close);
  BOOST_TEST(step_ms(16, 128, 3.35e12) == 29, close);
  BOOST_TEST(step_ms(72, 64, 3.35e12) == 14, close);
  BOOST_TEST(step_ms(72, 256, 3.35e12) == 34, close);
  BOOST_TEST(step_ms(8, 64, 4.8e12) == 26, close);
  BOOST_TEST(step_ms(8, 256, 4.8e12) == 43, close);
}

BOOST_AUTO_TEST_CASE(r1_does_not_fit_eight_cards_of_80_gb_and_fits_eight_h200) {
  const auto too_small = plan_memory(r1, parse_gpus("8xH100").value());
  const auto large = plan_memory(r1, parse_gpus("8xH200").value());

  BOOST_REQUIRE(!too_small);
  BOOST_TEST(int(too_small.error().code) == int(errc::overloaded));
  BOOST_TEST(too_small.error().message.find("GPUs would hold it") != std::string::npos);
  BOOST_REQUIRE(large);
  BOOST_TEST(large->experts == 32);
  BOOST_TEST(large->weight_bytes == 32 * 58 * 44.04e6 + 17.0e9, boost::test_tools::tolerance(0.05));
  BOOST_TEST(large->kv_tokens == std::int64_t(large->kv_bytes / 70272));
}

BOOST_AUTO_TEST_CASE(an_fp8_cache_holds_more_and_is_read_faster) {
  constexpr auto codes = kernels::cache_format::fp8_ds_mla;
  const auto gpus = parse_gpus("8xH200").value();
  const auto plan = plan_memory(r1, gpus, codes).value();
  BOOST_TEST(plan.kv_tokens == std::int64_t(plan.kv_bytes / 40016));
  const workload plain{.batch = 64, .context = 4096}, coded{.batch = 64, .context = 4096, .cache = codes};
  BOOST_TEST(plan_decode(r1, gpus, {}, coded).attention <= plan_decode(r1, gpus, {}, plain).attention);
}

BOOST_AUTO_TEST_CASE(what_it_advises_fits) {
  const auto gpus = parse_gpus("12xH100").value();
  BOOST_TEST(plan_memory(r1, gpus).has_value());
}

BOOST_AUTO_TEST_CASE(a_prompt_of_4096_tokens_costs_what_its_products_cost) {
  const auto times = plan_prefill(r1, ideal(1), {}, 4096);
  BOOST_TEST(times.attention * 1e6 / 61 == 958 + 859, boost::test_tools::tolerance(0.03));
  BOOST_TEST(times.experts * 1e6 / 58 == 3379 + 230,
             boost::test_tools::tolerance(0.03)); // weights read, shared computed
}

BOOST_AUTO_TEST_CASE(rows_on_their_way_take_the_slower_of_two_networks) {
  auto near = parse_gpus("8xH200").value();
  auto far = parse_gpus("16xH200").value();
  const workload load{.batch = 128, .context = 4096};
  const double inside = plan_decode(r1, near, {}, load).exchange;
  BOOST_TEST(inside * 1e6 / 58 == 15 + 29, boost::test_tools::tolerance(0.05));
  BOOST_TEST(plan_decode(r1, far, {}, load).exchange > 2 * inside);
  BOOST_TEST(plan_decode(r1, ideal(1), {}, load).exchange == 0);
}

BOOST_AUTO_TEST_CASE(malformed_clusters_are_refused_by_their_part) {
  BOOST_TEST(parse_gpus("8xH200,4H100").error().message == "GPUs '4H100': expected a count and a kind, like 8xH200");
  BOOST_TEST(parse_gpus("8xB52").error().message == "no figures for GPU 'B52': H200, H100, A100");
  BOOST_TEST(!parse_gpus(""));
  BOOST_TEST(!parse_gpus("0xH200"));
  BOOST_TEST(!parse_gpus("x"));
  BOOST_TEST(parse_gpus("8xH200,2xA100").value().gpu_count() == 10);
}

BOOST_AUTO_TEST_SUITE_END()
