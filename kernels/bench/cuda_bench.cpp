// Times the CUDA kernels on R1's shapes and prints ratios to ceilings measured in the same run, as a table and as JSON.
// L2-cold (a 256 MB read before each run), random data, medians of 30. Row counts are 0.7-1.3 x nominal, as DeepGEMM's.
#include "kernels/bench/cuda_ceilings.hpp"
#include "kernels/cuda/grouped_ffn.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::cuda;

namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "cuda_bench: %s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

template <class T>
T* device(std::size_t count) {
  void* p = nullptr;
  check(cudaMalloc(&p, count * sizeof(T)), "cudaMalloc");
  return static_cast<T*>(p);
}

struct timer {
  static constexpr std::size_t flush_bytes = 256u << 20;
  void* flush = device<char>(flush_bytes);
  unsigned* sink = device<unsigned>(1);
  cudaEvent_t begin, end;
  timer() { check(cudaEventCreate(&begin), "event"), check(cudaEventCreate(&end), "event"); }

  /// Median microseconds of `work` on the default stream.
  double median_us(const std::function<void()>& work, bool cold = true) {
    std::vector<float> ms;
    for (int i = 0; i < 33; ++i) {
      if (cold) bench::read_only(flush, flush_bytes, sink, nullptr);
      check(cudaEventRecord(begin), "record");
      work();
      check(cudaEventRecord(end), "record");
      check(cudaEventSynchronize(end), "kernel");
      float t = 0;
      check(cudaEventElapsedTime(&t, begin, end), "elapsed");
      if (i >= 3) ms.push_back(t);
    }
    std::nth_element(ms.begin(), ms.begin() + ms.size() / 2, ms.end());
    return 1e3 * ms[ms.size() / 2];
  }
};

double read_bandwidth_gbs(timer& t) {
  const std::size_t bytes = std::size_t{4} << 30;
  char* data = device<char>(bytes);
  bench::fill_floats(reinterpret_cast<float*>(data), bytes / 4, -1, 1, 1);
  const double us = t.median_us([&] { bench::read_only(data, bytes, t.sink, nullptr); }, false);
  check(cudaFree(data), "free");
  return bytes / us / 1e3;
}

struct ffn_row {
  int experts, rows;
  double whole_us, gate_up_us, down_us, bytes, anchor_us;
};

ffn_row bench_ffn(timer& t, int experts, int rows, double anchor_us) {
  const int hidden = 7168, intermediate = 2048;
  std::mt19937 random(static_cast<unsigned>(experts * 1000 + rows));
  std::vector<int> counts(experts);
  for (auto& c : counts) c = std::max(1, static_cast<int>(rows * std::uniform_real_distribution<>(0.7, 1.3)(random)));
  const int most = *std::max_element(counts.begin(), counts.end());
  ffn_shape s{experts, (most + 95) / 96 * 96, hidden, intermediate};
  const std::size_t slots = std::size_t(s.experts) * s.rows_max;
  std::vector<int> token_of(slots), slot_of;
  int tokens = 0;
  for (int e = 0; e < experts; ++e)
    for (int r = 0; r < counts[e]; ++r)
      token_of[std::size_t(e) * s.rows_max + r] = tokens++, slot_of.push_back(e * s.rows_max + r);

  const std::size_t up_bytes = std::size_t(experts) * 2 * intermediate * hidden, down_bytes = up_bytes / 2;
  auto *gate_up = device<std::uint8_t>(up_bytes), *down = device<std::uint8_t>(down_bytes);
  auto *up_scales = device<float>(up_bytes >> 14), *down_scales = device<float>(down_bytes >> 14);
  bench::fill_e4m3(gate_up, up_bytes, 1), bench::fill_e4m3(down, down_bytes, 2);
  bench::fill_floats(up_scales, up_bytes >> 14, 1e-4f, 2e-4f, 3),
      bench::fill_floats(down_scales, down_bytes >> 14, 1e-4f, 2e-4f, 4);
  std::vector<std::uint16_t> x_host(std::size_t(tokens) * hidden);
  for (auto& v : x_host) v = static_cast<std::uint16_t>(0x3F00 + random() % 0x100 + (random() % 2) * 0x8000);
  auto* x = device<std::uint16_t>(x_host.size());
  check(cudaMemcpy(x, x_host.data(), x_host.size() * 2, cudaMemcpyHostToDevice), "copy");
  const auto upload = [](const std::vector<int>& v) {
    int* p = device<int>(v.size());
    check(cudaMemcpy(p, v.data(), v.size() * sizeof(int), cudaMemcpyHostToDevice), "copy");
    return p;
  };
  auto* weights = device<float>(tokens);
  bench::fill_floats(weights, tokens, 0, 1, 5);
  const ffn_weights w{gate_up, up_scales, down, down_scales};
  const ffn_workspace ws{device<std::uint8_t>(slots * hidden), device<float>(slots * hidden / 128),
                         device<std::uint8_t>(slots * intermediate), device<float>(slots * intermediate / 128),
                         device<std::uint16_t>(slots * hidden)};
  const ffn_routing routing{upload(counts), upload(token_of), upload(slot_of), weights, tokens, 1};
  auto* y = device<std::uint16_t>(std::size_t(tokens) * hidden);

  ffn_row row{experts, rows, 0, 0, 0, 0, anchor_us};
  row.whole_us = t.median_us([&] {
    check(quantise_rows(s, routing, x, ws, nullptr), "quantise");
    check(grouped_gate_up(s, w, routing, ws, most, nullptr), "gate_up");
    check(grouped_down(s, w, routing, ws, most, nullptr), "down");
    check(combine_rows(s, routing, ws, y, nullptr), "combine");
  });
  row.gate_up_us = t.median_us([&] { check(grouped_gate_up(s, w, routing, ws, most, nullptr), "gate_up"); });
  row.down_us = t.median_us([&] { check(grouped_down(s, w, routing, ws, most, nullptr), "down"); });
  row.bytes =
      1.5 * up_bytes + 1.5 * (up_bytes >> 12) + double(tokens) * (2.0 * hidden + hidden + intermediate + 4.0 * hidden);
  for (const void* p :
       {(const void*)gate_up, (const void*)down, (const void*)up_scales, (const void*)down_scales, (const void*)x,
        (const void*)ws.inputs, (const void*)ws.input_scales, (const void*)ws.middle, (const void*)ws.middle_scales,
        (const void*)ws.outputs, (const void*)routing.rows, (const void*)routing.token_of, (const void*)routing.slot_of,
        (const void*)weights, (const void*)y})
    check(cudaFree(const_cast<void*>(p)), "free");
  return row;
}

} // namespace

int main() {
  timer t;
  const double read_gbs = read_bandwidth_gbs(t);
  std::printf("read-only reduction: %.0f GB/s\n\n", read_gbs);
  std::printf("| experts x rows | whole us | gate_up | down | of read bandwidth | DeepGEMM's two GEMMs, H100 "
              "|\n|---|---|---|---|---|---|\n");
  std::vector<ffn_row> rows;
  for (const auto& [e, r, anchor] : {std::tuple{32, 1, 521.5}, {32, 16, 521.0}, {32, 64, 540.0}, {8, 4, 145.8}}) {
    rows.push_back(bench_ffn(t, e, r, anchor));
    const auto& f = rows.back();
    std::printf("| %d x %d | %.1f | %.1f | %.1f | %.2f | %.1f |\n", e, r, f.whole_us, f.gate_up_us, f.down_us,
                f.bytes / f.whole_us / 1e3 / read_gbs, anchor);
  }
  std::string json = "{\"read_gbs\":" + std::to_string(read_gbs) + ",\"ffn\":[";
  for (const auto& f : rows)
    json += (f.experts == rows[0].experts && f.rows == rows[0].rows ? "" : ",") + std::string("{\"experts\":") +
            std::to_string(f.experts) + ",\"rows\":" + std::to_string(f.rows) +
            ",\"whole_us\":" + std::to_string(f.whole_us) + ",\"gate_up_us\":" + std::to_string(f.gate_up_us) +
            ",\"down_us\":" + std::to_string(f.down_us) +
            ",\"fraction\":" + std::to_string(f.bytes / f.whole_us / 1e3 / read_gbs) + "}";
  std::printf("\n%s]}\n", json.c_str());
}
