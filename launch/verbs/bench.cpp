// troupe bench: engine (kernels and model on random weights), cluster (processes against one), transport (messages
// between processes), serve (a running server), kernels (CUDA kernels against their targets).
#include "launch/verbs/bench_cluster.hpp"
#include "launch/verbs/bench_kernels.hpp"
#include "launch/verbs/bench_load.hpp"
#include "launch/verbs/bench_serve.hpp"
#include "launch/verbs/bench_transport.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/exec/engine_bench.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace troupe::launch {

namespace {

boost::json::object to_json(const exec::bench_row& row) {
  return {{"shape", row.shape},
          {"device", row.device},
          {"phase", row.phase},
          {"batch", row.batch},
          {"rows", row.rows},
          {"dtype", row.dtype},
          {"step_ms", row.step_ms},
          {"tokens_per_s", row.tokens_per_s},
          {"bytes_per_token", row.bytes_per_token},
          {"stream_gbs", row.stream_gbs},
          {"gflops", row.gflops},
          {"gemm_gflops", row.gemm_gflops},
          {"fraction", row.fraction}};
}

void print(const std::vector<exec::bench_row>& rows) {
  if (!rows.empty()) std::printf("%s\n", rows.front().device.c_str());
  std::printf("%-10s %-8s %5s %5s %-5s %9s %12s %14s %11s %9s %8s\n", "SHAPE", "PHASE", "BATCH", "ROWS", "DTYPE",
              "STEP MS", "TOKENS/S", "BYTES/TOKEN", "STREAM GB/S", "GFLOP/S", "FRACTION");
  for (const auto& r : rows)
    std::printf("%-10s %-8s %5d %5d %-5s %9.3f %12.1f %14.0f %11.1f %9.1f %8.2f\n", r.shape.c_str(), r.phase.c_str(),
                r.batch, r.rows, r.dtype.c_str(), r.step_ms, r.tokens_per_s, r.bytes_per_token, r.stream_gbs, r.gflops,
                r.fraction);
}

result<void> bench_engine(const exec::bench_options& options, bool as_json) {
  TROUPE_ASSIGN(const auto rows, exec::bench_engine(options));
  if (!as_json) {
    print(rows);
    return {};
  }
  boost::json::array results;
  for (const auto& row : rows) results.push_back(to_json(row));
  std::puts(boost::json::serialize(boost::json::object{{"results", results}}).c_str());
  return {};
}

/// R1 is FP8; a GPU measures its slice with one and with 64 sequences of 1024 tokens.
void fill_in_for_shape(const CLI::App& verb, exec::bench_options& options) {
  const auto unless_given = [&verb](const char* flag, auto& field, auto value) {
    if (verb.count(flag) == 0) field = value;
  };
  if (options.shape.starts_with("r1")) unless_given("--weights", options.weights, kernels::tensor_type::f8_e4m3);
  if (options.device == "cpu") return;
  unless_given("--moe-layers", options.moe_layers, 2);
  unless_given("--batch", options.batches, std::vector<int>{1, 64});
  unless_given("--context", options.context, 1024);
}

void add_bench_engine(CLI::App& bench) {
  struct flags {
    exec::bench_options options;
    bool json = false;
  };
  const std::map<std::string, kernels::tensor_type> types{
      {"bf16", kernels::tensor_type::bf16}, {"fp8", kernels::tensor_type::f8_e4m3}, {"f32", kernels::tensor_type::f32}};
  using exec::cache_dtype;
  const std::map<std::string, cache_dtype> caches{{"auto", cache_dtype::automatic},
                                                  {"bfloat16", cache_dtype::bfloat16},
                                                  {"fp8_ds_mla", cache_dtype::fp8_ds_mla},
                                                  {"fp8", cache_dtype::fp8_ds_mla}};
  auto given = std::make_shared<flags>();
  auto* verb = bench.add_subcommand("engine", "tokens/s of the engine beside what the memory of the device allows");
  verb->add_option("--device", given->options.device, "cpu, cuda or cuda:N")->capture_default_str();
  verb->add_option("--shape", given->options.shape, "tiny, small (0.6 B parameters) or r1-slice")
      ->capture_default_str();
  verb->add_option("--moe-layers", given->options.moe_layers, "of r1-slice")->capture_default_str();
  verb->add_option("--weights", given->options.weights, "bf16, fp8 or f32")->transform(CLI::CheckedTransformer(types));
  verb->add_option("--kv-cache-dtype", given->options.cache, "auto, bfloat16, fp8_ds_mla or fp8")
      ->transform(CLI::CheckedTransformer(caches));
  verb->add_option("--batch", given->options.batches, "sequences of a decode step")->capture_default_str();
  verb->add_option("--context", given->options.context, "tokens each sequence has")->capture_default_str();
  verb->add_option("--decode-steps", given->options.decode_steps, "measured for each batch")->capture_default_str();
  verb->add_option("--prefill-tokens", given->options.prefill_tokens, "rows of a chunk, one or several numbers")
      ->capture_default_str();
  verb->add_option("--threads", given->options.cpu.threads, "0: every core")->capture_default_str();
  verb->add_option("--deterministic", given->options.deterministic, "off: the faster products of a GPU")
      ->capture_default_str();
  verb->add_flag("--json", given->json, "one line of JSON");
  verb->callback([given, verb] {
    fill_in_for_shape(*verb, given->options);
    finish(bench_engine(given->options, given->json));
  });
}

} // namespace

void add_bench(CLI::App& app) {
  auto* verb = app.add_subcommand("bench", "measure");
  verb->require_subcommand(1);
  add_bench_engine(*verb);
  add_bench_cluster(*verb);
  add_bench_serve(*verb);
  add_bench_transport(*verb);
  add_bench_kernels(*verb);
  add_bench_load(*verb);
}

} // namespace troupe::launch
