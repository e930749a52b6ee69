#include "launch/verbs/bench_load.hpp"

#include "launch/verbs/verbs.hpp"
#include "runtime/exec/load_bench.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <memory>

namespace troupe::launch {
namespace {

result<void> bench_load(const exec::load_bench_options& options, bool as_json) {
  TROUPE_ASSIGN(const auto f, exec::bench_load(options));
  const double gb = static_cast<double>(f.bytes) / 1e9, ratio = f.read_s / f.load_s;
  if (as_json) {
    const boost::json::object line{{"device", f.device},         {"bytes", f.bytes},
                                   {"threads", options.threads}, {"read_gbs", gb / f.read_s},
                                   {"load_gbs", gb / f.load_s},  {"ratio", ratio}};
    return std::puts(boost::json::serialize(line).c_str()), result<void>{};
  }
  std::printf("%s: %.1f GB, read by %d threads at %.1f GB/s, loaded at %.1f GB/s: %.2f of reading\n", f.device.c_str(),
              gb, options.threads, gb / f.read_s, gb / f.load_s, ratio);
  return {};
}

} // namespace

void add_bench_load(CLI::App& bench) {
  struct flags {
    exec::load_bench_options options;
    bool json = false;
  };
  auto given = std::make_shared<flags>();
  auto& options = given->options;
  auto* verb = bench.add_subcommand("load", "a checkpoint onto a GPU, beside reading its files");
  verb->add_option("model", options.model, "folder of the checkpoint")->required();
  verb->add_option("--device", options.device, "cuda or cuda:N")->capture_default_str();
  verb->add_option("--threads", options.threads, "that read for comparison")->capture_default_str();
  verb->add_option("--rounds", options.rounds, "of reading and loading; the best count")->capture_default_str();
  verb->add_flag("--cold", options.cold, "from the disk: files leave the page cache first");
  verb->add_flag("--json", given->json, "one line of JSON");
  verb->callback([given] { finish(bench_load(given->options, given->json)); });
}

} // namespace troupe::launch
