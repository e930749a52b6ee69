// troupe launch RECIPE: every role of a recipe in a process of its own, replaced when it dies.
#include "launch/cluster_process.hpp"
#include "launch/flag_file.hpp"
#include "launch/serving_flags.hpp"
#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

namespace troupe::launch {

void add_launch(CLI::App& app) {
  auto plan = std::make_shared<recipe>();
  auto* verb = app.add_subcommand("launch", "start the cluster of a recipe: every role in a process of its own");
  // CLI11 runs options in the order they were added: the flags go over what the recipe says.
  const auto read = [plan](const std::string& file) {
    auto loaded = load_recipe(file);
    if (!loaded) throw CLI::ValidationError(loaded.error().message);
    *plan = std::move(*loaded);
  };
  verb->add_option_function<std::string>("recipe", read, "e.g. examples/recipes/local.yaml")->required();
  verb->add_option("--model", plan->serving.model_dir, "instead of the recipe's model");
  verb->add_option("--expert-shards", plan->size.expert_shards, "how many processes share the experts")
      ->check(CLI::Range(1, 1024));
  add_front_flags(*verb, plan->front);
  add_serving_flags(*verb, plan->serving);
  read_flags_from_elsewhere(*verb);
  verb->callback([plan] { finish(run_in_processes(*plan)); });
}

} // namespace troupe::launch
