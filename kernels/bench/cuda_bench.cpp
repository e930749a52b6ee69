// Times the CUDA kernels on R1's shapes and prints ratios to ceilings measured in the same run, as a table and as JSON.
// L2-cold (a 256 MB read before each run), random data, medians of 30. Row counts are 0.7-1.3 x nominal, as DeepGEMM's.
#include "kernels/bench/cuda_ceilings.hpp"
#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/mla_decode.hpp"

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

struct mla_row {
  int requests, length, heads;
  double us, bytes, flop, anchor_us;
};

mla_row bench_mla(timer& t, int requests, int length, int heads, double anchor_us) {
  const int table_pages = (length + mla_page - 1) / mla_page, pages = requests * table_pages;
  const std::size_t entries = std::size_t(pages) * mla_page * mla_entry, rows = std::size_t(requests) * heads;
  std::mt19937 random(1);
  std::vector<int> tables(pages), lengths(requests, length);
  for (int i = 0; i < pages; ++i) tables[i] = i;
  std::shuffle(tables.begin(), tables.end(), random);
  mla_decode_args args;
  auto *q = device<std::uint16_t>(rows * mla_entry), *cache = device<std::uint16_t>(entries),
       *out = device<std::uint16_t>(rows * mla_latent);
  bench::fill_bf16(q, rows * mla_entry, 1), bench::fill_bf16(cache, entries, 2);
  auto *d_tables = device<int>(pages), *d_lengths = device<int>(requests);
  check(cudaMemcpy(d_tables, tables.data(), pages * sizeof(int), cudaMemcpyHostToDevice), "copy");
  check(cudaMemcpy(d_lengths, lengths.data(), requests * sizeof(int), cudaMemcpyHostToDevice), "copy");
  args.q = q, args.cache = cache, args.out = out, args.tables = d_tables, args.lengths = d_lengths, args.scale = 0.135f;
  args.requests = requests, args.heads = heads, args.pages = pages, args.table_pages = table_pages;
  args.splits = mla_decode_splits(requests, heads, table_pages, 132);
  args.partial_out = device<float>(args.splits * rows * mla_latent),
  args.partial_lse = device<float>(args.splits * rows);
  mla_row row{requests,
              length,
              heads,
              0,
              1152.0 * requests * length + 2.0 * rows * (mla_entry + mla_latent),
              2.0 * rows * length * (mla_entry + mla_latent),
              anchor_us};
  row.us = t.median_us([&] { check(mla_decode(args, nullptr), "mla_decode"); });
  for (void* p : {(void*)q, (void*)cache, (void*)out, (void*)d_tables, (void*)d_lengths, (void*)args.partial_out,
                  (void*)args.partial_lse})
    check(cudaFree(p), "free");
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
  json += "],\"mla_decode\":[";
  std::printf(
      "\n| MLA decode: requests x length x heads | us | GB/s | TFLOP/s | FlashMLA, H100 |\n|---|---|---|---|---|\n");
  const char* comma = "";
  for (const auto& [b, l, h, anchor] : {std::tuple{128, 4096, 128, 245.0},
                                        {128, 8192, 16, 414.0},
                                        {128, 4096, 64, 214.0},
                                        {32, 4096, 128, 84.5},
                                        {1, 4096, 128, 20.9},
                                        {1, 65536, 128, 58.0}}) {
    const auto m = bench_mla(t, b, l, h, anchor);
    std::printf("| %d x %d x %d | %.1f | %.0f | %.0f | %.1f |\n", b, l, h, m.us, m.bytes / m.us / 1e3,
                m.flop / m.us / 1e6, anchor);
    json += comma + std::string("{\"requests\":") + std::to_string(b) + ",\"length\":" + std::to_string(l) +
            ",\"heads\":" + std::to_string(h) + ",\"us\":" + std::to_string(m.us) + "}";
    comma = ",";
  }
  std::printf("\n%s]}\n", json.c_str());
}
