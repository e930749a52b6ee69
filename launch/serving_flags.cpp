#include "launch/serving_flags.hpp"

#include <CLI/CLI.hpp>

namespace troupe::launch {

namespace {

/// Flags that scripts for other servers carry, and that change nothing here: what they ask for is always so.
void add_flags_of_others(CLI::App& app) {
  const auto nothing = [](const std::string&) {};
  app.add_option_function<std::string>("--reasoning-parser", nothing, "accepted: reasoning is always split off")
      ->check(CLI::IsMember({"deepseek_r1", "deepseek-r1"}));
  app.add_flag("--enable-chunked-prefill")->description("accepted: prompts are always computed in chunks");
  app.add_flag("--trust-remote-code")->description("accepted: no code of a checkpoint is ever run");
}

} // namespace

void add_front_flags(CLI::App& app, front_options& front) {
  app.add_option("--host", front.host, "address to listen on");
  app.add_option("--port", front.port, "port of the HTTP server; 0 lets the system choose");
  app.add_option("--served-model-name", front.served_model_name, "name in the API; default: the model's folder");
  app.add_option("--chat-template", front.chat_template, "instead of the one the checkpoint names")
      ->check(CLI::IsMember({"r1", "r1-0528", "v3"}));
  app.add_option("--api-key", front.api_keys, "asked for in every request; several are valid at once, for rotation")
      ->envname("TROUPE_API_KEY");
  app.add_option("--drain-timeout", front.drain_timeout_s, "seconds that running requests get to end after SIGTERM")
      ->check(CLI::Range(0, 86'400));
  app.add_flag("--i-know", front.any_interface, "allow --host 0.0.0.0, which every network of this machine reaches");
}

void add_serving_flags(CLI::App& app, serving_options& serving) {
  app.add_option("--load-format", serving.load_format, "dummy: random weights of config.json's shape, by --seed")
      ->check(CLI::IsMember({"auto", "safetensors", "dummy"}));
  app.add_option("--device", serving.device, "where to compute: cpu, cuda, or cuda:N for GPU N");
  app.add_option("--dtype", serving.dtype, "what to compute in; default: the checkpoint's")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  app.add_option("--threads", serving.threads, "compute threads of each role; 0 shares the cores")
      ->check(CLI::Range(0, 1024));
  app.add_option("--max-num-seqs,--max-running-requests", serving.max_num_seqs, "requests that run at once")
      ->check(CLI::Range(1, 4096));
  app.add_option("--max-num-batched-tokens,--chunked-prefill-size", serving.max_num_batched_tokens, "rows of one step")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-model-len,--context-length", serving.max_model_len,
                 "prompt and answer of one request, in tokens")
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--kv-cache-dtype", serving.kv_cache_dtype,
                 "of the latent cache: auto is what is computed in, fp8_ds_mla (fp8) takes 656 bytes instead of 1152")
      ->check(CLI::IsMember({"auto", "bfloat16", "fp8_ds_mla", "fp8"}));
  app.add_option("--kv-cache-ratio,--gpu-memory-utilization,--mem-fraction-static", serving.kv_cache_ratio,
                 "share of the memory left beside the weights that the cache may take")
      ->check(CLI::Range(0.01, 1.0));
  app.add_option("--seed,--random-seed", serving.seed, "for requests that bring none");
  app.add_option("--speculative", serving.speculative, "draft with the MTP module: on or off");
  app.add_option("--isa", serving.isa, "CPU kernels of all roles; equal bits need one. Default: process 0's fastest")
      ->check(CLI::IsMember({"auto", "avx2", "avx512_bf16", "amx_bf16"}));
  app.add_option("--deterministic", serving.deterministic,
                 "on: a request's tokens depend on nothing but itself. off: faster with many tokens on a GPU");
  add_flags_of_others(app);
}

} // namespace troupe::launch
