#include "actors/gateways/metrics.hpp"
#include "tests/support/fake_generation.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

using namespace troupe;

namespace {

bool has(const std::string& text, const std::string& line) { return ("\n" + text).find("\n" + line) != text.npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(gateway_metrics)

BOOST_AUTO_TEST_CASE(finished_requests_count_their_tokens_and_reasons) {
  troupe::gateway_metrics metrics("tiny");
  request_summary summary;
  summary.finished_reason = "stop";
  summary.prompt_tokens = 5;
  summary.generation_tokens = 7;
  summary.e2e_s = 2;
  summary.time_to_first_token_s = 1;
  summary.queue_s = 0.25;
  summary.decode_s = 0.5;
  metrics.on_finished(summary);
  summary.time_to_first_token_s = 0; // none came
  summary.finished_reason = "abort";
  metrics.on_finished(summary);
  metrics.on_rejected("overloaded");
  metrics.on_first_token(0.25);
  metrics.on_next_token(0.01);
  const auto text = metrics.text({});
  BOOST_TEST(has(text, R"(troupe_request_success_total{finished_reason="stop",model_name="tiny"} 1)"));
  BOOST_TEST(has(text, R"(troupe_request_success_total{finished_reason="abort",model_name="tiny"} 1)"));
  BOOST_TEST(has(text, R"(troupe_admission_rejections_total{code="overloaded",model_name="tiny"} 1)"));
  BOOST_TEST(has(text, R"(troupe_prompt_tokens_total{model_name="tiny"} 10)"));
  BOOST_TEST(has(text, R"(troupe_generation_tokens_total{model_name="tiny"} 2)"));
  BOOST_TEST(has(text, R"(troupe_request_queue_time_seconds_sum{model_name="tiny"} 0.25)"));
  BOOST_TEST(has(text, R"(troupe_request_prefill_time_seconds_sum{model_name="tiny"} 0.75)"));
  BOOST_TEST(has(text, R"(troupe_request_decode_time_seconds_sum{model_name="tiny"} 0.5)"));
  BOOST_TEST(has(text, R"(troupe_request_inference_time_seconds_sum{model_name="tiny"} 1.25)"));
  BOOST_TEST(has(text, R"(troupe_request_queue_time_seconds_count{model_name="tiny"} 1)"));
  BOOST_TEST(has(text, R"(troupe_e2e_request_latency_seconds_sum{model_name="tiny"} 4)"));
  BOOST_TEST(has(text, R"(troupe_time_to_first_token_seconds_bucket{model_name="tiny",le="0.25"} 1)"));
  BOOST_TEST(has(text, R"(troupe_time_to_first_token_seconds_bucket{model_name="tiny",le="0.1"} 0)"));
}

BOOST_AUTO_TEST_CASE(roles_that_have_left_are_no_longer_shown) {
  troupe::gateway_metrics metrics("tiny");
  auto role = test::ready_role();
  role.running = 3;
  role.waiting = 2;
  role.kv_usage = 0.5;
  role.drafts_proposed = 9;
  role.drafts_accepted = 7;
  role.preemptions = 4;
  role.pages = 100;
  for (const int rows : {1, 5, 8, 20'000}) role.step_rows.add(rows);
  const auto text = metrics.text({.ready = true, .roles = {role}});
  BOOST_TEST(has(text, R"(troupe_num_requests_running{model_name="tiny",engine="kv_cache-0"} 3)"));
  BOOST_TEST(has(text, R"(troupe_num_requests_waiting{model_name="tiny",engine="kv_cache-0"} 2)"));
  BOOST_TEST(has(text, R"(troupe_kv_cache_usage_perc{model_name="tiny",engine="kv_cache-0"} 0.5)"));
  BOOST_TEST(has(text, R"(troupe_spec_decode_num_draft_tokens_total{model_name="tiny",engine="kv_cache-0"} 9)"));
  BOOST_TEST(has(text, R"(troupe_spec_decode_num_accepted_tokens_total{model_name="tiny",engine="kv_cache-0"} 7)"));
  const std::string engine = R"(model_name="tiny",engine="kv_cache-0")";
  BOOST_TEST(has(text, "troupe_num_preemptions_total{" + engine + "} 4"));
  BOOST_TEST(has(text, "troupe_cache_config_info{" + engine + R"(,block_size="64",num_gpu_blocks="100"} 1)"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_bucket{" + engine + R"(,le="1"} 1)"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_bucket{" + engine + R"(,le="8"} 3)"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_bucket{" + engine + R"(,le="16384"} 3)"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_bucket{" + engine + R"(,le="+Inf"} 4)"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_count{" + engine + "} 4"));
  BOOST_TEST(has(text, "troupe_iteration_tokens_total_sum{" + engine + "} 20014"));
  BOOST_TEST((metrics.text({}).find("kv_cache-0") == std::string::npos));
}

BOOST_AUTO_TEST_SUITE_END()
