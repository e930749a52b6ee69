#include "tests/support/http_rig.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::test;

namespace {

json::value body_of(const http::response<http::string_body>& answer) { return json::parse(answer.body()); }

std::string code_of(const http::response<http::string_body>& answer) {
  return body_of(answer).at("error").at("code").as_string().c_str();
}

const json::object question{{"messages", {{{"role", "user"}, {"content", "hi"}}}}};

} // namespace

BOOST_AUTO_TEST_SUITE(http_gateway)

BOOST_AUTO_TEST_CASE(a_chat_is_answered_with_reasoning_content_and_usage) {
  http_rig rig;
  const auto answer = rig.chat({{"model", "tiny"}});
  BOOST_TEST_REQUIRE(answer.result_int() == 200, answer.body());
  const auto body = body_of(answer);
  const auto& message = body.at("choices").at(0).at("message");
  BOOST_TEST(message.at("reasoning_content").as_string() == "hm\n");
  BOOST_TEST(message.at("content").as_string() == "hello world");
  BOOST_TEST(body.at("choices").at(0).at("finish_reason").as_string() == "stop");
  const auto tokens = thoughtful(rig.text.tokenizer).size();
  BOOST_TEST(body.at("usage").at("completion_tokens").to_number<std::size_t>() == tokens);
  BOOST_TEST(body.at("usage").at("completion_tokens_details").at("reasoning_tokens").to_number<int>() > 0);
}

BOOST_AUTO_TEST_CASE(a_stream_says_what_the_whole_answer_says) {
  http_rig rig;
  const auto answer = rig.chat({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  BOOST_TEST_REQUIRE(answer.result_int() == 200);
  BOOST_TEST(answer[http::field::content_type].starts_with("text/event-stream"));
  BOOST_TEST(answer.body().ends_with("data: [DONE]\n\n"));
  std::string reasoning, content;
  const auto events = events_of(answer.body());
  BOOST_TEST(events.front().at("choices").at(0).at("delta").at("role").as_string() == "assistant");
  for (const auto& event : events) {
    BOOST_TEST(event.at("id") == events.front().at("id"));
    for (const auto& choice : event.at("choices").as_array()) {
      const auto& delta = choice.at("delta").as_object();
      const auto text = [&](const char* name) {
        const auto* value = delta.if_contains(name);
        return value && value->is_string() ? std::string(value->get_string()) : std::string();
      };
      BOOST_TEST((text("reasoning_content").empty() || text("content").empty()), "one chunk has both");
      reasoning += text("reasoning_content");
      content += text("content");
    }
  }
  BOOST_TEST(reasoning == "hm\n");
  BOOST_TEST(content == "hello world");
  BOOST_TEST(events.back().at("choices").as_array().empty());
  BOOST_TEST(events.back().at("usage").at("total_tokens").to_number<int>() > 0);
}

BOOST_AUTO_TEST_CASE(echo_gives_the_prompt_and_its_log_probabilities) {
  http_rig rig;
  const auto answer =
      rig.post("/v1/completions", {{"prompt", "hello"}, {"echo", true}, {"logprobs", 1}, {"max_tokens", 0}});
  BOOST_TEST_REQUIRE(answer.result_int() == 200, answer.body());
  const auto body = body_of(answer);
  const auto& choice = body.at("choices").at(0);
  BOOST_TEST(choice.at("text").as_string().ends_with("hello"));
  const auto& logprobs = choice.at("logprobs").at("token_logprobs").as_array();
  BOOST_TEST_REQUIRE(logprobs.size() == 2U); // the begin-of-sentence token and "hello"
  BOOST_TEST(logprobs[0].is_null());
  BOOST_TEST(logprobs[1].to_number<double>() == -0.25);
  BOOST_TEST(body.at("usage").at("completion_tokens").to_number<int>() == 0);
}

BOOST_AUTO_TEST_CASE(every_prompt_gets_n_choices_in_order) {
  http_rig rig;
  const auto body = body_of(rig.post("/v1/completions", {{"prompt", {"a", "b"}}, {"n", 2}, {"max_tokens", 3}}));
  const auto& choices = body.at("choices").as_array();
  BOOST_TEST_REQUIRE(choices.size() == 4U);
  for (int i = 0; i < 4; ++i) BOOST_TEST(choices[i].at("index").to_number<int>() == i);
  BOOST_TEST(choices[0].at("finish_reason").as_string() == "length");
}

BOOST_AUTO_TEST_CASE(a_stop_string_ends_the_answer_and_frees_the_request) {
  http_rig rig;
  const auto body = body_of(rig.chat({{"stop", "wor"}}));
  BOOST_TEST(body.at("choices").at(0).at("message").at("content").as_string() == "hello ");
  BOOST_TEST(body.at("choices").at(0).at("finish_reason").as_string() == "stop");
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_request_is_named) {
  http_rig rig;
  const auto blamed = [&](json::object fields) {
    const auto answer = rig.chat(std::move(fields));
    BOOST_TEST(answer.result_int() == 400);
    return std::string(body_of(answer).at("error").at("param").as_string());
  };
  BOOST_TEST(blamed({{"temperature", 9}}) == "temperature");
  BOOST_TEST(blamed({{"n", 9}}) == "n");
  BOOST_TEST(blamed({{"top_logprobs", 3}}) == "top_logprobs");
  BOOST_TEST(blamed({{"max_tokens", "many"}}) == "max_tokens");
  BOOST_TEST(blamed({{"tools", {1}}}) == "tools");
  BOOST_TEST(rig.post("/v1/chat/completions", {}).result_int() == 400);
  BOOST_TEST(rig.call(http::verb::post, "/v1/chat/completions", "{").result_int() == 400);
  const std::string long_text(2000, 'x');
  BOOST_TEST(code_of(rig.post("/v1/completions", {{"prompt", long_text}})) == "context_length_exceeded");
  BOOST_TEST(code_of(rig.chat({{"model", "other"}})) == "model_not_found");
  BOOST_TEST(rig.generation.requests().empty());
}

BOOST_AUTO_TEST_CASE(paths_methods_and_sizes_have_their_statuses) {
  http_rig rig;
  BOOST_TEST(rig.get("/nothing").result_int() == 404);
  BOOST_TEST(rig.get("/v1/chat/completions").result_int() == 405);
  BOOST_TEST(rig.get("//health").result_int() == 404);
  BOOST_TEST(rig.call(http::verb::post, "/tokenize", "{}", {{"content-type", "text/plain"}}).result_int() == 415);
  const std::string body(limits::http_body_bytes_max + 1, 'x');
  BOOST_TEST(rig.call(http::verb::post, "/v1/completions", body).result_int() == 413);
  const std::string header(limits::http_header_bytes_max, 'x');
  BOOST_TEST(rig.call(http::verb::get, "/ping", {}, {{"x-large", header}}).result_int() == 431);
  http_caller noise(rig.gateway->port());
  noise.write_raw("this is not HTTP\r\n\r\n");
  BOOST_TEST(noise.receive().result_int() == 400);
}

BOOST_AUTO_TEST_CASE(without_a_key_there_are_only_probes) {
  http_gateway_options options;
  options.api_keys = {"first", "second"};
  http_rig rig(options);
  const auto with = [&](const std::string& path, const std::string& value) {
    return rig.call(http::verb::get, path, {}, {{"authorization", value}}).result_int();
  };
  BOOST_TEST(rig.get("/v1/models").result_int() == 401);
  BOOST_TEST(rig.get("/metrics").result_int() == 401);
  BOOST_TEST(rig.get("/nothing").result_int() == 401);
  BOOST_TEST(rig.get("/ping").result_int() == 200);
  BOOST_TEST(rig.get("/health").result_int() == 200);
  BOOST_TEST(with("/v1/models", "Bearer first") == 200U);
  BOOST_TEST(with("/v1/models", "Bearer second") == 200U);
  BOOST_TEST(with("/v1/models", "Bearer third") == 401U);
  BOOST_TEST(with("/v1/models", "first") == 401U);
}

BOOST_AUTO_TEST_CASE(a_full_or_absent_cluster_asks_to_come_again) {
  http_rig rig;
  rig.generation.refuse(error{errc::overloaded, "full"});
  auto answer = rig.chat();
  BOOST_TEST(answer.result_int() == 429);
  BOOST_TEST(!answer[http::field::retry_after].empty());
  rig.generation.refuse(error{errc::disconnected, "loading"});
  answer = rig.chat({{"stream", true}});
  BOOST_TEST(answer.result_int() == 503);
  BOOST_TEST(!answer[http::field::retry_after].empty());
}

BOOST_AUTO_TEST_CASE(a_failure_before_the_first_token_has_its_status_and_a_later_one_an_event) {
  http_rig rig;
  rig.generation.fail_after(0);
  BOOST_TEST(rig.chat({{"stream", true}}).result_int() == 503);
  BOOST_TEST(rig.chat().result_int() == 503);
  rig.generation.fail_after(2);
  BOOST_TEST(rig.chat().result_int() == 503);
  rig.generation.fail_after(100);
  BOOST_TEST(rig.chat().result_int() == 200);
}

BOOST_AUTO_TEST_CASE(a_client_that_goes_away_frees_its_requests) {
  http_rig rig;
  rig.generation.hold_after(2);
  json::object streamed = question;
  streamed["stream"] = true;
  http_caller listening(rig.gateway->port()), waiting(rig.gateway->port());
  listening.send(http::verb::post, "/v1/chat/completions", json::serialize(streamed));
  listening.wait_for("data: ");
  listening.close();
  BOOST_TEST(rig.generation.wait_for_cancelled(1));
  streamed["stream"] = false;
  streamed["n"] = 2;
  waiting.send(http::verb::post, "/v1/chat/completions", json::serialize(streamed));
  waiting.close();
  BOOST_TEST(rig.generation.wait_for_cancelled(3));
}

BOOST_AUTO_TEST_CASE(one_connection_serves_many_requests_each_with_its_id) {
  http_rig rig;
  http_caller caller(rig.gateway->port());
  for (const std::string id : {"first-1", "second-2"}) {
    caller.send(http::verb::post, "/v1/chat/completions", json::serialize(question), {{"x-request-id", id}});
    const auto answer = caller.receive();
    BOOST_TEST(answer.result_int() == 200);
    BOOST_TEST(answer["x-request-id"] == id);
  }
  caller.send(http::verb::get, "/ping", {}, {{"x-request-id", "two words"}});
  BOOST_TEST(caller.receive()["x-request-id"].starts_with("req-"));
  caller.send(http::verb::get, "/ping"); // the second arrives while the first is answered
  caller.send(http::verb::get, "/version");
  BOOST_TEST(body_of(caller.receive()).at("status").as_string() == "ok");
  BOOST_TEST(body_of(caller.receive()).at("version").as_string() == "1.2.3");
}

BOOST_AUTO_TEST_CASE(draining_refuses_new_requests_and_finishes_running_ones) {
  http_rig rig;
  rig.generation.hold_after(2);
  http_caller running(rig.gateway->port());
  running.send(http::verb::post, "/v1/chat/completions", json::serialize(question));
  while (rig.generation.requests().empty()) std::this_thread::yield();
  rig.gateway->drain();
  BOOST_TEST(rig.chat().result_int() == 503);
  BOOST_TEST(rig.get("/ready").result_int() == 503);
  BOOST_TEST(rig.get("/health").result_int() == 200);
  rig.generation.hold_after(1000);
  BOOST_TEST(running.receive().result_int() == 200);
  rig.gateway->stop();
  rig.gateway->stop();
}

BOOST_AUTO_TEST_CASE(health_is_progress) {
  http_rig rig;
  role_status role = ready_role();
  const auto health = [&](bool ready) {
    rig.generation.report({.ready = ready, .roles = {role}});
    const auto answer = rig.get("/health");
    const auto body = body_of(answer);
    return std::string(answer.result_int() == 200 ? body.at("status").as_string()
                                                  : body.at("error").at("message").as_string());
  };
  BOOST_TEST(health(true) == "ok");
  role.state = "starting";
  BOOST_TEST(health(false) == "starting", "a probe must not end a server that loads");
  role.state = "draining";
  BOOST_TEST(health(false) == "draining");
  role.state = "lost";
  BOOST_TEST(health(false) == "recovering", "the supervisor is about to replace it");
  role.step_age_ms = std::chrono::milliseconds(limits::health_patience).count() + 1000;
  BOOST_TEST(health(false) == "recovering", "what is gone has no progress");
  role.state = "ready";
  BOOST_TEST(health(true) == "kv_cache-0 has work and has not moved for 61 s");
  role.step_age_ms -= 2000;
  BOOST_TEST(health(true) == "ok");
  role.state = "failed";
  BOOST_TEST(health(false) == "kv_cache-0 is gone");
  rig.generation.report({});
  BOOST_TEST(rig.get("/health").result_int() == 503);
  BOOST_TEST(rig.get("/ready").result_int() == 503);
  BOOST_TEST(rig.get("/ping").result_int() == 200);
}

BOOST_AUTO_TEST_CASE(where_nobody_replaces_a_role_its_loss_is_the_end) {
  http_gateway_options options;
  options.replaces_roles = false;
  http_rig rig(options);
  role_status role = ready_role();
  role.state = "lost";
  rig.generation.report({.ready = false, .roles = {role}});
  BOOST_TEST(rig.get("/health").result_int() == 503);
  role.state = "starting";
  rig.generation.report({.ready = false, .roles = {role}});
  BOOST_TEST(rig.get("/health").result_int() == 200);
  const auto ready = rig.get("/ready");
  BOOST_TEST(ready.result_int() == 503);
  BOOST_TEST(!ready[http::field::retry_after].empty());
  BOOST_TEST(body_of(ready).at("error").at("message").as_string() == "not every role is ready, kv_cache-0 is starting");
}

BOOST_AUTO_TEST_CASE(load_counts_completions_and_server_info_shows_the_settings) {
  http_gateway_options options;
  options.server_info = R"({"max_num_seqs":64})";
  http_rig rig(options);
  rig.generation.hold_after(2);
  const auto load = [&] { return body_of(rig.get("/load")).at("server_load").to_number<int>(); };
  BOOST_TEST(load() == 0);
  http_caller running(rig.gateway->port());
  running.send(http::verb::post, "/v1/chat/completions", json::serialize(question));
  while (rig.generation.requests().empty()) std::this_thread::yield();
  BOOST_TEST(load() == 1);
  BOOST_TEST(body_of(rig.get("/server_info")).at("max_num_seqs").to_number<int>() == 64);
}

BOOST_AUTO_TEST_CASE(models_tokens_status_and_metrics_can_be_asked) {
  http_rig rig;
  BOOST_TEST(body_of(rig.get("/v1/models")).at("data").at(0).at("id").as_string() == "tiny");
  BOOST_TEST(body_of(rig.get("/v1/models/tiny")).at("id").as_string() == "tiny");
  const auto tokens = body_of(rig.post("/tokenize", {{"prompt", "hello w"}, {"add_special_tokens", false}}));
  BOOST_TEST(tokens.at("count").to_number<int>() == 2);
  BOOST_TEST(body_of(rig.post("/detokenize", {{"tokens", tokens.at("tokens")}})).at("prompt").as_string() == "hello w");
  BOOST_TEST(body_of(rig.get("/status")).at("roles").at(0).at("name").as_string() == "kv_cache-0");
  BOOST_TEST(rig.chat().result_int() == 200);
  const auto metrics = rig.get("/metrics").body();
  for (const std::string name :
       {"request_success_total", "time_to_first_token_seconds_bucket", "generation_tokens_total",
        "inter_token_latency_seconds_count", "e2e_request_latency_seconds_sum", "num_requests_running",
        "num_requests_waiting", "kv_cache_usage_perc", "num_preemptions_total", "iteration_tokens_total_bucket",
        "request_queue_time_seconds_sum", "request_prefill_time_seconds_sum", "request_decode_time_seconds_sum",
        "request_inference_time_seconds_count", "cache_config_info"})
    BOOST_TEST((metrics.find("troupe_" + name) != metrics.npos), name);
}

BOOST_AUTO_TEST_CASE(a_wildcard_address_is_refused_unless_wanted) {
  http_rig rig;
  http_gateway_options options;
  options.host = "0.0.0.0";
  options.port = 0;
  const auto refused = troupe::http_gateway::open(options, rig.completions);
  BOOST_TEST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().message.find("--i-know") != std::string::npos));
  options.host = "127.0.0.1";
  options.port = rig.gateway->port();
  const auto taken = troupe::http_gateway::open(options, rig.completions);
  BOOST_TEST(!taken.has_value());
}

BOOST_AUTO_TEST_SUITE_END()
