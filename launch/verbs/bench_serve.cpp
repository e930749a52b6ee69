// troupe bench serve: random prompts at a running server, with the flags and figures of `vllm bench serve`. Every
// client is a thread with one request at a time; times are what a client sees.
#include "launch/verbs/bench_serve.hpp"

#include "launch/verbs/http_client.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/ids.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <thread>

namespace troupe::launch {

namespace {

struct load_options {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
  int num_prompts = 100;
  int max_concurrency = 16;
  int input_len = 128;
  int output_len = 128;
  int vocab_size = 1000;
  std::uint64_t seed = 0;
  bool as_json = false;
};

/// One request as its client saw it. Times in milliseconds.
struct request_times {
  double ttft = 0;
  double e2el = 0;
  std::vector<double> itl{}; ///< between chunks, which may carry several tokens
  std::int64_t output_tokens = 0;
  std::string failure{};

  /// Per token after the first, as vLLM defines it.
  double tpot() const { return (e2el - ttft) / static_cast<double>(output_tokens - 1); }
};

double ms(duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

boost::json::object random_request(const load_options& options, std::size_t number) {
  std::mt19937_64 random(options.seed * 1'000'003 + number);
  std::uniform_int_distribution<token_id> token(3, options.vocab_size - 1); // below: begin, end, padding
  boost::json::array prompt;
  for (int i = 0; i < options.input_len; ++i) prompt.push_back(token(random));
  return {{"prompt", std::move(prompt)},
          {"max_tokens", options.output_len},
          {"ignore_eos", true},
          {"temperature", 0},
          {"stream", true},
          {"stream_options", {{"include_usage", true}}}};
}

/// A chunk with text, the one with the usage, or an error.
void take_event(std::string_view event, time_point begin, time_point& last, request_times& out) {
  const auto chunk = boost::json::parse(event).as_object();
  if (chunk.contains("error")) {
    out.failure = boost::json::serialize(chunk.at("error"));
    return;
  }
  if (const auto* usage = chunk.if_contains("usage"); usage && usage->is_object())
    out.output_tokens = usage->at("completion_tokens").to_number<std::int64_t>();
  if (chunk.at("choices").as_array().empty()) return;
  const auto now = clock::now();
  if (out.ttft == 0)
    out.ttft = ms(now - begin);
  else
    out.itl.push_back(ms(now - last));
  last = now;
  out.e2el = ms(now - begin);
}

request_times run_one(const http_client& client, const boost::json::object& body) {
  request_times out;
  const auto begin = clock::now();
  auto last = begin;
  const auto sent = client.stream("/v1/completions", body, [&](std::string_view event) {
    take_event(event, begin, last, out);
    return out.failure.empty();
  });
  if (!sent) out.failure = sent.error().message;
  return out;
}

std::vector<request_times> run_all(const http_client& client, const load_options& options) {
  std::vector<request_times> out(static_cast<std::size_t>(options.num_prompts));
  std::atomic<std::size_t> next{0};
  std::vector<std::jthread> clients;
  for (int i = 0; i < std::min(options.max_concurrency, options.num_prompts); ++i)
    clients.emplace_back([&] {
      for (auto n = next++; n < out.size(); n = next++) out[n] = run_one(client, random_request(options, n));
    });
  clients.clear(); // joins
  return out;
}

/// mean, median, standard deviation and percentiles of `values`, as "mean_ttft_ms" and so on.
void add_figures(boost::json::object& to, const std::string& name, std::vector<double> values) {
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  const double squares = std::accumulate(values.begin(), values.end(), 0.0,
                                         [&](double sum, double x) { return sum + (x - mean) * (x - mean); });
  const auto percentile = [&](double p) { // linear between neighbours, as numpy
    const double at = p / 100 * (count - 1);
    const auto below = static_cast<std::size_t>(at);
    const auto above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
  };
  to["mean_" + name + "_ms"] = mean;
  to["median_" + name + "_ms"] = percentile(50);
  to["std_" + name + "_ms"] = std::sqrt(squares / count);
  to["p90_" + name + "_ms"] = percentile(90);
  to["p99_" + name + "_ms"] = percentile(99);
}

boost::json::object summary(const std::vector<request_times>& all, const load_options& options, double seconds) {
  std::vector<double> ttft, tpot, itl, e2el;
  std::int64_t output_tokens = 0;
  for (const auto& r : all) {
    if (!r.failure.empty()) continue;
    ttft.push_back(r.ttft);
    e2el.push_back(r.e2el);
    itl.insert(itl.end(), r.itl.begin(), r.itl.end());
    if (r.output_tokens > 1) tpot.push_back(r.tpot());
    output_tokens += r.output_tokens;
  }
  const auto completed = static_cast<std::int64_t>(ttft.size());
  const auto input_tokens = completed * options.input_len;
  boost::json::object out{{"completed", completed},
                          {"failed", static_cast<std::int64_t>(all.size()) - completed},
                          {"max_concurrency", options.max_concurrency},
                          {"duration", seconds},
                          {"total_input_tokens", input_tokens},
                          {"total_output_tokens", output_tokens},
                          {"request_throughput", static_cast<double>(completed) / seconds},
                          {"output_throughput", static_cast<double>(output_tokens) / seconds},
                          {"total_token_throughput", static_cast<double>(input_tokens + output_tokens) / seconds}};
  add_figures(out, "ttft", std::move(ttft));
  add_figures(out, "tpot", std::move(tpot));
  add_figures(out, "itl", std::move(itl));
  add_figures(out, "e2el", std::move(e2el));
  return out;
}

void print(const boost::json::object& figures) {
  for (const auto& [name, value] : figures)
    std::printf("%-24s %14.2f\n", std::string(name).c_str(), value.to_number<double>());
}

result<void> bench_serve(const load_options& options) {
  TROUPE_ASSIGN(const auto client, http_client::open(options.url, options.api_key));
  const auto begin = clock::now();
  const auto all = run_all(client, options);
  const auto figures = summary(all, options, ms(clock::now() - begin) / 1000);
  if (options.as_json)
    std::puts(boost::json::serialize(figures).c_str());
  else
    print(figures);
  const auto failed = std::find_if(all.begin(), all.end(), [](const auto& r) { return !r.failure.empty(); });
  if (failed != all.end()) return error{errc::bad_input, "a request failed: " + failed->failure};
  return {};
}

} // namespace

void add_bench_serve(CLI::App& bench) {
  auto options = std::make_shared<load_options>();
  auto* verb = bench.add_subcommand("serve", "put load on a running server");
  verb->add_option("--url,--base-url", options->url, "of the server")->capture_default_str();
  verb->add_option("--api-key", options->api_key, "if the server asks for one");
  verb->add_option("--num-prompts", options->num_prompts, "requests in all")->capture_default_str();
  verb->add_option("--max-concurrency", options->max_concurrency, "requests at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--random-input-len", options->input_len, "prompt tokens")->capture_default_str();
  verb->add_option("--random-output-len", options->output_len, "tokens of every answer")->capture_default_str();
  verb->add_option("--vocab-size", options->vocab_size, "prompts are random ids below this")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  verb->add_option("--seed", options->seed, "of the prompts")->capture_default_str();
  verb->add_flag("--json", options->as_json, "one line of JSON");
  verb->callback([options] { finish(bench_serve(*options)); });
}

} // namespace troupe::launch
