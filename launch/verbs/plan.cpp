// troupe plan: what a model would need and do on GPUs that are not at hand.
#include "launch/verbs/verbs.hpp"
#include "runtime/exec/cache_dtype.hpp"
#include "runtime/exec/capacity.hpp"
#include "runtime/exec/random_weights.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace troupe::launch {

namespace {

struct plan_flags {
  std::string model;
  std::string shape = "r1";
  std::string gpus;
  int gpus_per_host = 8;
  double network_gbs = 50;
  double exchange_us = 20;
  std::string cache_dtype = "auto";
  int context = 4096;
  int prompt = 4096;
  std::vector<int> batches{1, 16, 64, 128, 256};
  exec::kernel_fractions reached = exec::measured_fractions();
  bool json = false;
};

struct plan_row {
  int batch = 0;
  bool fits = false; ///< the sequences' cache
  exec::step_plan_times step;
};

boost::json::object to_json(const exec::step_plan_times& t) {
  return {{"attention_ms", t.attention * 1e3},
          {"experts_ms", t.experts * 1e3},
          {"exchange_ms", t.exchange * 1e3},
          {"rest_ms", t.rest * 1e3},
          {"total_ms", t.total() * 1e3}};
}

void print_json(const exec::memory_plan& memory, const exec::step_plan_times& prompt, int gpus,
                const std::vector<plan_row>& rows) {
  boost::json::array decode;
  for (const auto& r : rows)
    decode.push_back({{"batch", r.batch},
                      {"fits", r.fits},
                      {"tpot", to_json(r.step)},
                      {"tokens_per_s", gpus * r.batch / r.step.total()}});
  std::puts(boost::json::serialize(boost::json::object{{"gpus", gpus},
                                                       {"experts_per_gpu", memory.experts},
                                                       {"weight_gb", memory.weight_bytes / 1e9},
                                                       {"kv_gb", memory.kv_bytes / 1e9},
                                                       {"kv_tokens", memory.kv_tokens},
                                                       {"ttft", to_json(prompt)},
                                                       {"decode", decode}})
                .c_str());
}

void print(const exec::cluster_shape& cluster, const plan_flags& flags, const exec::memory_plan& memory,
           const exec::step_plan_times& prompt, const std::vector<plan_row>& rows) {
  const int gpus = cluster.gpu_count();
  std::puts("An estimate: uniform routing, nothing overlapped, kernels as fast as those measured here.");
  for (const auto& [count, gpu] : cluster.groups)
    std::printf("%d x %s: %.0f GB, reads %.2f TB/s, %.0f TFLOP/s FP8 (%s)\n", count, gpu.name.c_str(),
                gpu.memory_bytes / 1e9, gpu.read_rate / 1e12, gpu.fp8_rate / 1e12,
                gpu.measured ? "measured" : "data sheet");
  std::printf("\nplacement    every GPU: attention of its own sequences, and %d experts of each layer\n",
              memory.experts);
  std::printf("memory       %.1f GB weights, %.1f GB latent cache: %lld tokens a GPU, %lld in all\n",
              memory.weight_bytes / 1e9, memory.kv_bytes / 1e9, static_cast<long long>(memory.kv_tokens),
              static_cast<long long>(memory.kv_tokens) * gpus);
  std::printf("TTFT         %.0f ms for a prompt of %d tokens, alone\n\n", prompt.total() * 1e3, flags.prompt);
  std::printf("%9s %8s %10s %11s %12s %9s %12s %10s\n", "BATCH/GPU", "TPOT_MS", "ATTENTION", "EXPERTS", "EXCHANGE",
              "REST", "TOKENS/S", "PER GPU");
  for (const auto& r : rows)
    std::printf("%9d %8.1f %10.1f %11.1f %12.1f %9.1f %12.0f %10.0f%s\n", r.batch, r.step.total() * 1e3,
                r.step.attention * 1e3, r.step.experts * 1e3, r.step.exchange * 1e3, r.step.rest * 1e3,
                gpus * r.batch / r.step.total(), r.batch / r.step.total(), r.fits ? "" : "   (its cache does not fit)");
}

result<void> plan(const plan_flags& flags) {
  TROUPE_ASSIGN(const auto model,
                flags.model.empty() ? exec::named_shape(flags.shape) : model::load_config(flags.model));
  TROUPE_ASSIGN(auto cluster, exec::parse_gpus(flags.gpus));
  cluster.gpus_per_host = flags.gpus_per_host;
  cluster.network_rate = flags.network_gbs * 1e9;
  cluster.exchange_latency_s = flags.exchange_us * 1e-6;
  TROUPE_ASSIGN(const auto dtype, exec::parse_cache_dtype(flags.cache_dtype));
  TROUPE_ASSIGN(const auto cache, exec::choose_cache(dtype, model));
  TROUPE_ASSIGN(const auto memory, exec::plan_memory(model, cluster, cache));
  const auto prompt = exec::plan_prefill(model, cluster, flags.reached, flags.prompt);
  std::vector<plan_row> rows;
  for (const int batch : flags.batches)
    rows.push_back({batch, std::int64_t{batch} * flags.context <= memory.kv_tokens,
                    exec::plan_decode(model, cluster, flags.reached, {batch, flags.context, cache})});
  if (flags.json)
    print_json(memory, prompt, cluster.gpu_count(), rows);
  else
    print(cluster, flags, memory, prompt, rows);
  return {};
}

} // namespace

void add_plan(CLI::App& app) {
  auto flags = std::make_shared<plan_flags>();
  auto* verb = app.add_subcommand("plan", "memory, TTFT, TPOT and throughput of a model on GPUs that are not at hand");
  verb->add_option("--gpus", flags->gpus, "how many of which, e.g. 8xH200 or 8xH200,32xH100")->required();
  auto* folder = verb->add_option("--model", flags->model, "a checkpoint's folder; only config.json is read");
  verb->add_option("--shape", flags->shape, "without a checkpoint: r1")->capture_default_str()->excludes(folder);
  verb->add_option("--kv-cache-dtype", flags->cache_dtype, "auto (bf16) or fp8_ds_mla")->capture_default_str();
  verb->add_option("--context", flags->context, "tokens of each decoding sequence")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--prompt", flags->prompt, "tokens of the prompt whose TTFT is asked")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--batch", flags->batches, "sequences a GPU decodes")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--gpus-per-host", flags->gpus_per_host, "joined by NVLink")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--network-gbs", flags->network_gbs, "GB/s a GPU can send to other hosts")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--exchange-us", flags->exchange_us, "latency of one dispatch or combine")->capture_default_str();
  verb->add_option("--ffn-fraction", flags->reached.expert_ffn, "of its limit that the expert FFN reaches")
      ->capture_default_str();
  verb->add_option("--mla-fraction", flags->reached.mla_decode, "the same for MLA decode")->capture_default_str();
  verb->add_option("--dense-fraction", flags->reached.dense, "for projections and dense layers")->capture_default_str();
  verb->add_option("--prefill-fraction", flags->reached.prefill, "for everything in prefill")->capture_default_str();
  verb->add_flag("--json", flags->json, "one line of JSON");
  verb->callback([flags] { finish(plan(*flags)); });
}

} // namespace troupe::launch
