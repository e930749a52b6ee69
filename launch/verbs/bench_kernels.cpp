// The bench is a binary of its own beside this one (kernels/bench/cuda_bench.cpp), so that `troupe` needs no CUDA: the
// process becomes it.
#include "launch/verbs/bench_kernels.hpp"

#include "launch/verbs/verbs.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace troupe::launch {
namespace {

result<void> become_cuda_bench(std::vector<std::string> arguments) {
  const auto binary = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "cuda_bench";
  if (!std::filesystem::exists(binary))
    return error{errc::bad_input, binary.string() + " does not exist: build with the preset gpu"};
  arguments.insert(arguments.begin(), binary.string());
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  return error{errc::bad_input, "cannot start " + binary.string()};
}

} // namespace

void add_bench_kernels(CLI::App& bench) {
  auto arguments = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<bool>();
  auto* verb = bench.add_subcommand("kernels", "CUDA kernels against their targets and this card's ceilings");
  verb->add_option("parts", *arguments, "gate, attention, experts, products, sampling; none: all")
      ->check(CLI::IsMember({"gate", "attention", "experts", "products", "sampling"}));
  verb->add_flag("--json", *json, "one line of JSON");
  verb->callback([arguments, json] {
    if (*json) arguments->insert(arguments->begin(), "--json");
    finish(become_cuda_bench(*arguments));
  });
}

} // namespace troupe::launch
