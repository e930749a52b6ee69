// Measures the CPU kernels against what the same cores can do, in one run: reading memory (STREAM) bounds decode, and
// oneDNN's bf16 matmul stands for a good GEMM in prefill. Usage: cpu_bench [threads] [isa]
#include "kernels/cpu/expert_ffn.hpp"
#include "kernels/cpu/mla_attention.hpp"
#include "kernels/cpu/stream.hpp"

#ifdef TROUPE_HAVE_DNNL
#include <oneapi/dnnl/dnnl.hpp>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>

using namespace troupe::kernels;

namespace {

constexpr std::int64_t hidden = 2048, width = 4096;
constexpr std::int64_t decode_bytes = std::int64_t{1} << 30; // far beyond the L3 this machine owns a share of

template <class Fn>
double best_seconds(int repeats, Fn fn) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    fn();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

std::vector<float> random_floats(std::int64_t count) {
  static std::mt19937 engine{std::random_device{}()};
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (auto& v : values) v = normal(engine);
  return values;
}

/// Random bytes are good weights: FP8 codes, or bf16 whose exponents are clipped below.
matrix random_matrix(tensor_type type, std::int64_t rows, std::int64_t cols, target t) {
  static std::mt19937_64 engine{std::random_device{}()};
  std::vector<std::uint64_t> bits(static_cast<std::size_t>(rows * cols) * bytes_of(type) / 8);
  for (auto& b : bits)
    b = type == tensor_type::bf16 ? (engine() & 0x80ff80ff80ff80ff) | 0x3f003f003f003f00
                                  : engine() & 0xbfbfbfbfbfbfbfbf;
  const std::vector<float> scales(static_cast<std::size_t>((rows + 127) / 128 * ((cols + 127) / 128)), 0.01f);
  return matrix({type, reinterpret_cast<const std::byte*>(bits.data()), rows, cols,
                 type == tensor_type::f8_e4m3 ? reinterpret_cast<const std::byte*>(scales.data()) : nullptr},
                t);
}

const char* name_of_type(tensor_type type) { return type == tensor_type::bf16 ? "bf16" : "fp8"; }

/// Rows against a weight set larger than the caches.
void bench_decode(thread_pool& pool, target t, tensor_type type, double stream) {
  const auto count = decode_bytes / (hidden * width * static_cast<std::int64_t>(bytes_of(type)));
  std::vector<matrix> weights;
  for (std::int64_t i = 0; i < count; ++i) weights.push_back(random_matrix(type, width, hidden, t));
  for (const std::int64_t n : {1, 8, 32}) {
    const auto x = random_floats(n * hidden);
    std::vector<float> y(static_cast<std::size_t>(n * width));
    const double seconds = best_seconds(5, [&] {
      for (const auto& w : weights) w.multiply(pool, x.data(), hidden, n, y.data(), width);
    });
    const double gbs = static_cast<double>(count * weights[0].bytes()) / seconds / 1e9;
    std::printf("decode  %-4s rows %-3ld %7.2f GB/s  %.2f of STREAM\n", name_of_type(type), n, gbs, gbs / stream);
  }
}

/// Experts as one token of a mixture layer meets them: eight of many, gate, up and down.
void bench_experts(thread_pool& pool, target t, tensor_type type, std::int64_t rows, double stream) {
  constexpr std::int64_t expert_width = 512;
  const auto count = decode_bytes / (3 * hidden * expert_width * static_cast<std::int64_t>(bytes_of(type)));
  std::vector<ffn_weights> experts;
  for (std::int64_t i = 0; i < count; ++i)
    experts.push_back({random_matrix(type, expert_width, hidden, t), random_matrix(type, expert_width, hidden, t),
                       random_matrix(type, hidden, expert_width, t)});
  const auto x = random_floats(rows * hidden);
  std::vector<std::int32_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  std::vector<float> y(static_cast<std::size_t>(8 * rows * hidden));
  expert_ffn ffn(t);
  const double seconds = best_seconds(3, [&] {
    for (std::size_t e = 0; e + 8 <= experts.size(); e += 8) {
      std::vector<ffn_job> jobs;
      for (std::size_t i = 0; i < 8; ++i)
        jobs.push_back({&experts[e + i], all,
                        reinterpret_cast<std::byte*>(y.data() + static_cast<std::int64_t>(i) * rows * hidden)});
      ffn.run(pool, row_view::of(x.data(), hidden), jobs);
    }
  });
  const double used = static_cast<double>(count / 8 * 8), gbs = used * experts[0].bytes() / seconds / 1e9;
  std::printf("experts %-4s rows %-3ld %7.2f GB/s  %.2f of STREAM  %7.1f GFLOP/s\n", name_of_type(type), rows, gbs,
              gbs / stream, used * 6 * hidden * expert_width * rows / seconds / 1e9);
}

double dnnl_gflops([[maybe_unused]] std::int64_t n, [[maybe_unused]] std::int64_t rows,
                   [[maybe_unused]] std::int64_t cols) {
#ifdef TROUPE_HAVE_DNNL
  using namespace dnnl;
  using type = memory::data_type;
  using tag = memory::format_tag;
  engine cpu(engine::kind::cpu, 0);
  dnnl::stream s(cpu);
  const memory::desc x({n, cols}, type::bf16, tag::ab), w({cols, rows}, type::bf16, tag::any),
      y({n, rows}, type::f32, tag::ab);
  const matmul::primitive_desc plan(matmul::desc(x, w, y), cpu);
  memory xm(x, cpu), wm(plan.weights_desc(), cpu), ym(y, cpu);
  const auto fill = [](memory& m) {
    auto* p = static_cast<std::uint16_t*>(m.get_data_handle());
    std::mt19937 engine;
    for (std::size_t i = 0; i < m.get_desc().get_size() / 2; ++i)
      p[i] = float_to_bf16(static_cast<float>(engine() % 17) - 8);
  };
  fill(xm), fill(wm);
  const matmul run(plan);
  release_tiles();
  const double seconds = best_seconds(20, [&] {
    run.execute(s, {{DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, wm}, {DNNL_ARG_DST, ym}});
    s.wait();
  });
  return 2.0 * static_cast<double>(n * rows * cols) / seconds / 1e9;
#else
  return 0;
#endif
}

void bench_prefill(thread_pool& pool, target t, std::int64_t n, std::int64_t rows, std::int64_t cols) {
  const double dnnl = dnnl_gflops(n, rows, cols);
  for (const auto type : {tensor_type::bf16, tensor_type::f8_e4m3}) {
    const auto w = random_matrix(type, rows, cols, t);
    const auto x = random_floats(n * cols);
    std::vector<float> y(static_cast<std::size_t>(n * rows));
    const double seconds = best_seconds(20, [&] { w.multiply(pool, x.data(), cols, n, y.data(), rows); });
    const double gflops = 2.0 * static_cast<double>(n * rows * cols) / seconds / 1e9;
    std::printf("prefill %-4s %ldx%ldx%ld %8.0f GFLOP/s  oneDNN bf16 %8.0f  ratio %.2f\n", name_of_type(type), n, rows,
                cols, gflops, dnnl, dnnl > 0 ? gflops / dnnl : 0);
  }
}

void bench_attention(thread_pool& pool, target t, std::int64_t heads, std::int64_t rows, std::int64_t context,
                     double stream) {
  const mla_shape shape{.heads = heads, .nope = 128, .rope = 64, .value = 128, .latent = 512, .scale = 0.07f};
  const auto kv_b = random_floats(heads * 256 * 512);
  const mla_weights weights({tensor_type::f32, reinterpret_cast<const std::byte*>(kv_b.data()), heads * 256, 512},
                            shape, t);
  const auto pages = (context + 63) / 64;
  buffer cache(static_cast<std::size_t>(pages * 64 * cache_entry_bytes(shape, t.compute)));
  const auto entry = random_floats(shape.entry());
  for (std::int64_t p = 0; p < pages * 64; ++p)
    write_cache_entry(shape, t.compute, cache.data(), p / 64, p, entry.data(), entry.data() + 512);
  std::vector<std::int32_t> table(static_cast<std::size_t>(pages));
  std::iota(table.begin(), table.end(), 0);
  const auto q = random_floats(rows * heads * 192);
  std::vector<float> o(static_cast<std::size_t>(rows * heads * 128));
  const mla_sequence sequence{0, rows, context - rows, table};
  mla_attention attention(t);
  const double seconds = best_seconds(5, [&] {
    attention.run(pool, weights, {&sequence, 1}, cache.data(), q.data(), heads * 192, o.data(), heads * 128);
  });
  const double pairs = static_cast<double>(rows) * (static_cast<double>(context) - rows / 2.0) * heads;
  const double bytes = static_cast<double>(context * cache_entry_bytes(shape, t.compute) + weights.bytes());
  std::printf("mla heads %-3ld rows %-3ld context %-5ld %9.1f us  %7.2f GB/s (%.2f of STREAM)  %7.1f GFLOP/s\n", heads,
              rows, context, seconds * 1e6, bytes / seconds / 1e9, bytes / seconds / 1e9 / stream,
              pairs * 2176 / seconds / 1e9);
}

} // namespace

int main(int argc, char** argv) {
  thread_pool pool(argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency()));
  const auto set = argc > 2 ? isa_from_name(argv[2]) : best_isa();
  if (!set || !supported(*set)) return std::puts("unknown or unsupported instruction set"), 1;
  const target t{*set, compute_type::bfloat16};
  const double stream = stream_read_gbs(pool, decode_bytes, 5);
  std::printf("%s, %d threads, STREAM read %.2f GB/s\n", std::string(name_of(*set)).c_str(), pool.size(), stream);
  for (const auto type : {tensor_type::bf16, tensor_type::f8_e4m3}) bench_decode(pool, t, type, stream);
  for (const auto type : {tensor_type::bf16, tensor_type::f8_e4m3})
    for (const std::int64_t rows : {1, 64}) bench_experts(pool, t, type, rows, stream);
  bench_prefill(pool, t, 512, 2048, 2048);
  bench_prefill(pool, t, 512, 4096, 7168);
  for (const auto& [heads, rows, context] :
       {std::array<std::int64_t, 3>{4, 1, 4096}, {16, 1, 4096}, {128, 1, 4096}, {4, 256, 4096}, {16, 256, 2048}})
    bench_attention(pool, t, heads, rows, context, stream);
}
