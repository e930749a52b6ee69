#include "launch/verbs/bench_cluster.hpp"

#include "launch/cluster_process.hpp"
#include "launch/serving_flags.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/philox.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

namespace troupe::launch {

namespace {

struct load_options {
  int batch = 32;
  int prompt_tokens = 32;
  int tokens = 64; ///< generated for each request
  int rounds = 3;  ///< measured, after one that warms up; the median counts
};

/// Counts the ends of a batch of requests.
class finish_line {
 public:
  explicit finish_line(int count) : open_(count) {}

  token_sink sink() {
    return [this](const token_event& event) {
      if (event.finish == finish_reason::none) return;
      const std::scoped_lock lock(mutex_);
      failed_ = failed_ || event.finish == finish_reason::failed;
      --open_;
      changed_.notify_all();
    };
  }

  /// False if a request failed.
  bool wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_ == 0; });
    return !failed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int open_;
  bool failed_ = false;
};

generation_request make_request(generation_service& service, const load_options& load, int number) {
  generation_request r;
  r.id = service.next_id();
  r.sampling.temperature = 0;
  r.sampling.ignore_eos = true;
  r.sampling.max_tokens = load.tokens;
  for (int i = 0; i < load.prompt_tokens; ++i) {
    const auto draw =
        philox_uniform(static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(i), draw_stream::data);
    r.prompt.push_back(static_cast<token_id>(3 + draw * 250)); // any ordinary tokens
  }
  return r;
}

/// Tokens per second of one batch, prompts included.
result<double> run_batch(generation_service& service, const load_options& load) {
  finish_line line(load.batch);
  const auto begin = clock::now();
  for (int i = 0; i < load.batch; ++i) TROUPE_TRY(service.submit(make_request(service, load, i), line.sink()));
  if (!line.wait()) return error{errc::bug, "a request failed"};
  return load.batch * load.tokens / std::chrono::duration<double>(clock::now() - begin).count();
}

result<double> measure(generation_service& service, const load_options& load) {
  TROUPE_TRY(run_batch(service, load));
  std::vector<double> rates;
  for (int i = 0; i < load.rounds; ++i) {
    TROUPE_ASSIGN(const auto rate, run_batch(service, load));
    rates.push_back(rate);
  }
  std::nth_element(rates.begin(), rates.begin() + load.rounds / 2, rates.end());
  return rates[static_cast<std::size_t>(load.rounds / 2)];
}

using runner = result<void> (*)(const recipe&, const visitor&);

result<double> measure_company(runner run, const recipe& plan, const load_options& load) {
  result<double> rate = error{errc::disconnected, "the company was never ready"};
  TROUPE_TRY(run(plan, [&](front& house) { rate = measure(house.service(), load); }));
  return rate;
}

result<void> bench_cluster(const recipe& plan, const load_options& load, bool as_json) {
  auto alone = plan;
  alone.size = {.kv_caches = 1, .expert_shards = 0};
  TROUPE_ASSIGN(const auto one, measure_company(run_in_one_process, alone, load));
  TROUPE_ASSIGN(const auto four, measure_company(run_in_processes, plan, load));
  if (as_json)
    std::puts(boost::json::serialize(boost::json::object{{"model", plan.serving.model_dir},
                                                         {"batch", load.batch},
                                                         {"one_process_tps", one},
                                                         {"four_process_tps", four},
                                                         {"ratio", four / one}})
                  .c_str());
  else
    std::printf("batch %d: one process %.0f tokens/s, %d processes %.0f tokens/s, ratio %.2f\n", load.batch, one,
                1 + plan.size.kv_caches + plan.size.expert_shards, four, four / one);
  return {};
}

} // namespace

void add_bench_cluster(CLI::App& bench) {
  struct flags {
    recipe plan;
    load_options load;
    bool json = false;
  };
  auto given = std::make_shared<flags>();
  given->plan.serving.model_dir = "examples/demo_model";
  given->plan.size = {.kv_caches = 1, .expert_shards = 2};
  given->plan.front.port = 0;
  auto* verb = bench.add_subcommand("cluster", "tokens/s of four processes against one");
  verb->add_option("--model", given->plan.serving.model_dir, "a folder as Hugging Face publishes it")
      ->capture_default_str();
  verb->add_option("--batch", given->load.batch, "requests at once")->capture_default_str()->check(CLI::Range(1, 1024));
  verb->add_option("--prompt-tokens", given->load.prompt_tokens, "of each request")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  verb->add_option("--tokens", given->load.tokens, "generated for each request")
      ->capture_default_str()
      ->check(CLI::Range(1, limits::max_tokens_max));
  verb->add_option("--rounds", given->load.rounds, "measured; the median counts")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  verb->add_option("--spin-rounds", given->plan.spin_rounds, "without work before progress threads sleep; -1: never")
      ->capture_default_str();
  add_serving_flags(*verb, given->plan.serving);
  verb->add_flag("--json", given->json, "one line of JSON");
  verb->callback([given] { finish(bench_cluster(given->plan, given->load, given->json)); });
}

} // namespace troupe::launch
