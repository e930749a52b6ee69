// `cuda_bench [--json] [gate|attention|experts|products|sampling]...`: every kernel target of the project against this
// card, with the card's ceilings measured in the same run. L2-cold, random data, medians of 30 graph replays. `troupe
// bench kernels` runs it.
#include "kernels/bench/cuda_rig.hpp"

#include <algorithm>
#include <cstdio>

using namespace troupe::bench;

namespace {

/// What the slower of memory and tensor cores allows, as a fraction of the measured time; 0: no ceiling measured.
double of_limit(const line& l, const ceilings& c) {
  const bool bf16 = l.what.starts_with("MLA") || l.what.find("BF16") != l.what.npos;
  const double peak = bf16 ? c.bf16_tflops : c.fp8_tflops;
  const double memory_us = l.bytes / c.read_gbs / 1e3, compute_us = peak > 0 ? l.flop / peak / 1e6 : 0;
  return std::max(memory_us, compute_us) / l.us;
}

void print_heading(const ceilings& c) {
  std::printf(
      "read %.0f GB/s, copy %.0f GB/s, cuBLASLt 8192^3 bf16 %.0f TFLOP/s, fp8 %.0f TFLOP/s (0: not found), empty "
      "kernel %.1f us\n\n",
      c.read_gbs, c.copy_gbs, c.bf16_tflops, c.fp8_tflops, c.empty_us);
  std::printf("| what | us | GB/s | TFLOP/s | target | ratio | of limit |\n|---|---|---|---|---|---|---|\n");
}

void print_row(const ceilings& c, const line& l) {
  std::printf("| %s | %.1f | %.0f | %.0f |", l.what.c_str(), l.us, l.bytes / l.us / 1e3, l.tflops());
  if (l.target > 0)
    std::printf(" %.4g %s | %.2f |", l.target, l.rate ? "TFLOP/s" : "us", l.ratio());
  else
    std::printf(" | |");
  std::printf(" %.2f |\n", of_limit(l, c));
  std::fflush(stdout);
}

void print_json(const ceilings& c, const std::vector<line>& lines) {
  std::printf(
      "{\"read_gbs\":%.1f,\"copy_gbs\":%.1f,\"bf16_tflops\":%.1f,\"fp8_tflops\":%.1f,\"empty_us\":%.2f,\"lines\":[",
      c.read_gbs, c.copy_gbs, c.bf16_tflops, c.fp8_tflops, c.empty_us);
  for (const auto& l : lines)
    std::printf("%s{\"what\":\"%s\",\"us\":%.2f,\"gbs\":%.1f,\"tflops\":%.1f,\"target\":%g,\"unit\":\"%s\","
                "\"ratio\":%.3f,\"of_limit\":%.3f}",
                &l == lines.data() ? "" : ",", l.what.c_str(), l.us, l.bytes / l.us / 1e3, l.tflops(), l.target,
                l.rate ? "TFLOP/s" : "us", l.ratio(), of_limit(l, c));
  std::printf("]}\n");
}

} // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto asked = [&](const char* word) { return std::ranges::count(arguments, word) > 0; };
  const bool json = asked("--json"), all = arguments.size() == std::size_t(json);
  constexpr struct {
    const char* name;
    std::vector<line> (*run)(timer&);
  } parts[] = {{"gate", bench_gate},
               {"attention", bench_attention},
               {"experts", bench_experts},
               {"products", bench_products},
               {"sampling", bench_sampling}};
  timer t;
  const auto c = measure_ceilings(t);
  if (!json) print_heading(c);
  std::vector<line> lines;
  for (const auto& part : parts) {
    if (!all && !asked(part.name)) continue;
    for (auto& l : part.run(t)) {
      if (!json) print_row(c, l);
      lines.push_back(l);
    }
  }
  if (json) print_json(c, lines);
}
