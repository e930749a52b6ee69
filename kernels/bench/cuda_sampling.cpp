// Sampling R1's vocabulary at temperature 0.6 and top-p 0.95, on the GPU and on the host.
#include "kernels/bench/cuda_rig.hpp"
#include "kernels/cpu/sample.hpp"
#include "kernels/cuda/sample.hpp"

#include <algorithm>
#include <chrono>
#include <random>

namespace troupe::bench {
namespace {

using namespace cuda;

constexpr int vocab_size = 129280;

enum class kind { greedy, drawn, penalised };

kernels::token_draw draw_of(std::uint64_t uniform) {
  kernels::token_draw d;
  d.inverse_temperature = 1 / 0.6f, d.top_p = std::uint64_t(0.95f * 0x1p64), d.uniform = uniform;
  return d;
}

std::vector<float> random_logits(int rows, float spread) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(std::size_t(rows) * vocab_size);
  for (auto& x : logits) x = normal(random);
  return logits;
}

line bench_device(timer& t, int rows, float spread, kind what) {
  const bool penalised = what == kind::penalised;
  std::vector<sample_row> how(rows);
  std::vector<kernels::score_edit> edits;
  std::mt19937_64 random(2);
  for (int r = 0; r < rows; ++r) {
    how[r].row = r;
    if (what != kind::greedy) how[r].draw = draw_of(random());
    if (!penalised) continue;
    how[r].draw.repetition_penalty = 1.1f, how[r].first_edit = int(edits.size()), how[r].edit_count = 1000;
    for (int e = 0; e < 1000; ++e) edits.push_back({e * 100, e % 3});
  }
  arena a;
  sample_args args;
  args.logits = a.copy(random_logits(rows, spread)), args.rows = a.copy(how), args.edits = a.copy(edits);
  args.unedited = a.get<float>(edits.size()), args.workspace = a.get<char>(sample_workspace_bytes(rows));
  args.tokens = a.get<int>(rows), args.row_count = rows, args.width = args.vocab_size = vocab_size;
  args.top_p_any = what != kind::greedy, args.edits_any = penalised;
  line l{"sampling " + std::to_string(rows) + " x 129280, deviation " + std::to_string(spread).substr(0, 3) +
         (penalised              ? ", 1000 penalised"
          : what == kind::greedy ? ", greedy"
                                 : "")};
  l.us = t.median_us([&](cudaStream_t s) { check(sample_rows(args, s), "sample_rows"); });
  l.bytes = 4.0 * rows * vocab_size;
  return l;
}

/// Copied to pinned memory, then row by row on one core.
line bench_host(int rows, float spread) {
  using clock = std::chrono::steady_clock;
  arena a;
  const auto* logits = a.copy(random_logits(rows, spread));
  const auto count = std::size_t(rows) * vocab_size;
  float* host = nullptr;
  check(cudaMallocHost(reinterpret_cast<void**>(&host), count * sizeof(float)), "pinned memory");
  kernels::token_sampler sampler;
  std::vector<double> us;
  for (int run = 0; run < 5; ++run) {
    const auto begin = clock::now();
    check(cudaMemcpy(host, logits, count * sizeof(float), cudaMemcpyDeviceToHost), "copy");
    for (int r = 0; r < rows; ++r)
      sampler.sample({host + std::size_t(r) * vocab_size, std::size_t(vocab_size)}, vocab_size,
                     draw_of(std::uint64_t(r) << 57), {});
    us.push_back(std::chrono::duration<double, std::micro>(clock::now() - begin).count());
  }
  cudaFreeHost(host);
  std::sort(us.begin(), us.end());
  line l{"... " + std::to_string(rows) + " x 129280 through the host, one core"};
  l.us = us[us.size() / 2], l.bytes = 4.0 * rows * vocab_size;
  return l;
}

} // namespace

std::vector<line> bench_sampling(timer& t) {
  return {bench_device(t, 1, 2.5f, kind::drawn),  bench_host(1, 2.5f),
          bench_device(t, 64, 2.5f, kind::drawn), bench_host(64, 2.5f),
          bench_device(t, 64, 1, kind::drawn),    bench_device(t, 64, 2.5f, kind::penalised),
          bench_device(t, 1, 2.5f, kind::greedy), bench_device(t, 64, 2.5f, kind::greedy)};
}

} // namespace troupe::bench
