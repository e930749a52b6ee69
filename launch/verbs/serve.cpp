// troupe serve MODEL: all roles in one process.
#include "launch/cluster_process.hpp"
#include "launch/flag_file.hpp"
#include "launch/serving_flags.hpp"
#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace troupe::launch {

void add_serve(CLI::App& app) {
  auto plan = std::make_shared<recipe>();
  plan->size = {.kv_caches = 1, .expert_shards = 0};
  auto* verb = app.add_subcommand("serve", "serve a model, all roles in this process");
  verb->add_option("model,--model,--model-path", plan->serving.model_dir, "a folder as Hugging Face publishes it")
      ->required();
  add_front_flags(*verb, plan->front);
  add_serving_flags(*verb, plan->serving);
  read_flags_from_elsewhere(*verb);
  verb->callback([plan] { finish(run_in_one_process(*plan)); });
}

} // namespace troupe::launch
