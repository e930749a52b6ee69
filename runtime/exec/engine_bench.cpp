#include "runtime/exec/engine_bench.hpp"

#include "kernels/cpu/stream.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/exec/cpu_experts.hpp"
#include "runtime/exec/cpu_model.hpp"
#include "runtime/exec/engine_bench_cost.hpp"
#include "runtime/exec/local_expert_client.hpp"
#include "runtime/exec/random_weights.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace troupe::exec {
namespace {

using clock = std::chrono::steady_clock;

constexpr int stream_passes = 5;
constexpr std::int64_t gemm_size = 1024;
constexpr int gemm_passes = 5;
constexpr int prefill_passes = 5;

double seconds_since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

std::string name_of(kernels::tensor_type type) {
  return type == kernels::tensor_type::f8_e4m3 ? "fp8" : type == kernels::tensor_type::f32 ? "f32" : "bf16";
}

int most_sequences(const bench_options& options) {
  return std::accumulate(options.batches.begin(), options.batches.end(), 1,
                         [](int a, int b) { return std::max(a, b); });
}

/// GFLOP/s of the best of some large products.
double gemm_gflops(kernels::thread_pool& pool, const kernels::matrix& w) {
  const auto n = w.rows();
  std::vector<float> x(static_cast<std::size_t>(n * n), 0.5f), y(x.size());
  double best = 0;
  for (int pass = 0; pass < gemm_passes; ++pass) {
    const auto start = clock::now();
    w.multiply(pool, x.data(), n, n, y.data(), n);
    best = std::max(best, 2e-9 * static_cast<double>(n * n * n) / seconds_since(start));
  }
  return best;
}

/// One engine with its experts, and sequences of equal length that grow together.
class bench {
 public:
  static result<std::unique_ptr<bench>> open(const bench_options& options);

  bench_row decode(int batch);
  bench_row prefill();

 private:
  explicit bench(const bench_options& options) : options_(options) {}

  /// Seconds of one step that adds `rows` tokens to each of the first `batch` sequences, from `position` on.
  double step(int batch, int position, int rows);
  void fill(int batch);
  bench_row make_row(const char* phase, int batch, double seconds, double tokens, double bytes, double flops) const;

  bench_options options_;
  model::model_config config_;
  cpu_device device_;
  kernels::matrix gemm_weights_;
  std::unique_ptr<cpu_model> model_;
  std::unique_ptr<local_expert_client> experts_;
  std::int64_t expert_bytes_ = 0;
  std::int64_t cache_token_bytes_ = 0;
  std::int64_t experts_read_ = 0; // in the last step
};

result<std::unique_ptr<bench>> bench::open(const bench_options& options) {
  std::unique_ptr<bench> b(new bench(options));
  TROUPE_ASSIGN(b->config_, named_shape(options.shape, options.moe_layers));
  auto& config = b->config_;
  config.mtp_layer_count = 0;
  const auto bytes = parameter_count(config) * static_cast<std::int64_t>(bytes_of(options.weights));
  if (bytes > available_memory_bytes())
    return error{errc::overloaded, "shape '" + options.shape + "' takes " + std::to_string(bytes >> 30) +
                                       " GiB of weights; free are " + std::to_string(available_memory_bytes() >> 30)};

  random_weights weights(options.seed, options.weights);
  TROUPE_ASSIGN(b->device_, open_cpu(weights, options.cpu));
  auto cpu = options.cpu;
  cpu.pool = b->device_.pool;
  TROUPE_ASSIGN(const auto gemm, weights.matrix("bench.up_proj.weight", gemm_size, gemm_size));
  b->gemm_weights_ = kernels::matrix(gemm.view, b->device_.target);
  TROUPE_ASSIGN(auto loaded, load_cpu_weights(weights, config, b->device_, cpu));
  const int longest = std::max(options.context + options.decode_steps + 1, options.prefill_tokens);
  const int sequences = most_sequences(options);
  const auto pages = sequences * ((longest + limits::page_tokens - 1) / limits::page_tokens);
  b->model_ = std::make_unique<cpu_model>(config, b->device_, std::move(loaded), pages);

  std::vector<expert_index> all(static_cast<std::size_t>(config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  TROUPE_ASSIGN(auto shard, cpu_experts::load(weights, config, all, cpu));
  b->expert_bytes_ = shard->expert_bytes();
  std::vector<std::unique_ptr<expert_engine>> shards;
  shards.push_back(std::move(shard));
  b->experts_ = std::make_unique<local_expert_client>(std::move(shards), moe::place_evenly(config.expert_count, 1, 1),
                                                      config.hidden_size, cpu_element(weights, cpu));
  b->cache_token_bytes_ = static_cast<std::int64_t>(b->model_->info().page_bytes) / limits::page_tokens;
  return b;
}

double bench::step(int batch, int position, int rows) {
  const auto pages_each = model_->info().page_count / most_sequences(options_);
  std::vector<std::vector<token_id>> tokens(static_cast<std::size_t>(batch));
  std::vector<std::vector<page_id>> pages(tokens.size());
  std::vector<row_group> groups;
  for (std::size_t s = 0; s < tokens.size(); ++s) {
    for (int i = 0; i < rows; ++i) // any tokens, but other ones each time, or a few experts would do all the work
      tokens[s].push_back(static_cast<token_id>((s * 7919 + static_cast<std::size_t>(position + i) * 104729) %
                                                static_cast<std::size_t>(config_.vocab_size)));
    for (int p = 0; p < pages_each; ++p)
      pages[s].push_back(page_id{static_cast<std::uint32_t>(s) * static_cast<std::uint32_t>(pages_each) +
                                 static_cast<std::uint32_t>(p)});
    groups.push_back({tokens[s], position, pages[s], 1});
  }
  counting_client counter(*experts_);
  const auto start = clock::now();
  model_->forward(groups, counter).value();
  const auto seconds = seconds_since(start);
  experts_read_ = counter.distinct_experts;
  return seconds;
}

void bench::fill(int batch) {
  const int chunk = std::max(1, options_.prefill_tokens / batch);
  for (int done = 0; done < options_.context; done += chunk)
    step(batch, done, std::min(chunk, options_.context - done));
}

bench_row bench::decode(int batch) {
  fill(batch);
  std::vector<double> seconds, bytes;
  for (int i = 0; i <= options_.decode_steps; ++i) { // the first step warms up
    const auto took = step(batch, options_.context + i, 1);
    if (i == 0) continue;
    seconds.push_back(took);
    bytes.push_back(static_cast<double>(model_->step_bytes() + experts_read_ * expert_bytes_ +
                                        batch * (options_.context + i + 1) * cache_token_bytes_));
  }
  const double flops = batch * step_flops(config_, 1, options_.context + options_.decode_steps / 2, 1);
  auto row = make_row("decode", batch, median(seconds), batch, median(bytes), flops);
  row.fraction = row.bytes_per_token * row.tokens_per_s / 1e9 / row.stream_gbs;
  return row;
}

bench_row bench::prefill() {
  const int rows = options_.prefill_tokens;
  std::vector<double> seconds;
  for (int i = 0; i < prefill_passes; ++i) seconds.push_back(step(1, 0, rows));
  const auto bytes =
      static_cast<double>(model_->step_bytes() + experts_read_ * expert_bytes_ + rows * cache_token_bytes_);
  auto row = make_row("prefill", 1, median(seconds), rows, bytes, step_flops(config_, rows, rows, 1));
  row.fraction = row.gflops / row.gemm_gflops;
  return row;
}

/// The yardsticks are taken beside each row: on a shared machine they move as the row does.
bench_row bench::make_row(const char* phase, int batch, double seconds, double tokens, double bytes,
                          double flops) const {
  return {.shape = options_.shape,
          .phase = phase,
          .batch = batch,
          .dtype = name_of(options_.weights),
          .tokens_per_s = tokens / seconds,
          .bytes_per_token = bytes / tokens,
          .stream_gbs = kernels::stream_read_gbs(*device_.pool, options_.stream_bytes, stream_passes),
          .gflops = flops / seconds / 1e9,
          .gemm_gflops = gemm_gflops(*device_.pool, gemm_weights_)};
}

} // namespace

result<std::vector<bench_row>> bench_engine(const bench_options& options) {
  TROUPE_ASSIGN(const auto engine, bench::open(options));
  std::vector<bench_row> rows;
  for (const int batch : options.batches) rows.push_back(engine->decode(batch));
  rows.push_back(engine->prefill());
  return rows;
}

} // namespace troupe::exec
