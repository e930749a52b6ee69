#include "runtime/exec/engine_bench.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/exec/engine_bench_cost.hpp"
#include "runtime/exec/engine_bench_subject.hpp"
#include "runtime/exec/random_weights.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace troupe::exec {
namespace {

using clock = std::chrono::steady_clock;

constexpr int prefill_passes = 5;
constexpr int warm_steps = 3; // a GPU compiles its graph in them

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

/// One subject, and sequences of equal length that grow together.
class bench {
 public:
  static result<std::unique_ptr<bench>> open(const bench_options& options);

  bench_row decode(int batch);
  bench_row prefill(int rows);

 private:
  explicit bench(const bench_options& options) : options_(options) {}

  /// Seconds of one step that adds `rows` tokens to each of the first `batch` sequences, from `position` on.
  double step(int batch, int position, int rows);
  /// Experts that the same step reads, summed over layers.
  std::int64_t count_experts(int batch, int position, int rows);
  double run(int batch, int position, int rows, expert_client& experts);
  void fill(int batch);
  bench_row make_row(const char* phase, int batch, double seconds, double tokens, double bytes, double flops);

  bench_options options_;
  model::model_config config_;
  std::unique_ptr<bench_subject> subject_;
  std::int64_t cache_token_bytes_ = 0;
  std::int64_t experts_read_ = 0; // in the last step that was counted
};

result<std::unique_ptr<bench>> bench::open(const bench_options& options) {
  std::unique_ptr<bench> b(new bench(options));
  TROUPE_ASSIGN(b->config_, named_shape(options.shape, options.moe_layers));
  b->config_.mtp_layer_count = 0;
  const int longest = std::max(options.context + warm_steps + options.decode_steps,
                               *std::max_element(options.prefill_tokens.begin(), options.prefill_tokens.end()));
  const auto pages = most_sequences(options) * ((longest + limits::page_tokens - 1) / limits::page_tokens);
  TROUPE_ASSIGN(b->subject_, options.device == "cpu" ? make_cpu_subject(options, b->config_, pages)
                                                     : make_device_subject(options, b->config_, pages));
  b->cache_token_bytes_ = static_cast<std::int64_t>(b->subject_->model().info().page_bytes) / limits::page_tokens;
  return b;
}

double bench::run(int batch, int position, int rows, expert_client& experts) {
  auto& model = subject_->model();
  const auto pages_each = model.info().page_count / most_sequences(options_);
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
  const auto start = clock::now();
  model.forward(groups, experts).value();
  return std::chrono::duration<double>(clock::now() - start).count();
}

double bench::step(int batch, int position, int rows) {
  if (!subject_->counts_experts()) return run(batch, position, rows, subject_->experts());
  counting_client counter(subject_->experts());
  const auto seconds = run(batch, position, rows, counter);
  experts_read_ = counter.distinct_experts;
  return seconds;
}

std::int64_t bench::count_experts(int batch, int position, int rows) {
  if (subject_->counts_experts()) return experts_read_;
  counting_client counter(
      subject_->experts()); // hides that they are near: rows go through the host, with the same bits
  run(batch, position, rows, counter);
  return counter.distinct_experts;
}

void bench::fill(int batch) {
  const int chunk = std::max(1, options_.prefill_tokens.front() / batch);
  for (int done = 0; done < options_.context; done += chunk)
    step(batch, done, std::min(chunk, options_.context - done));
}

bench_row bench::decode(int batch) {
  fill(batch);
  std::vector<double> seconds;
  for (int i = 0; i < warm_steps + options_.decode_steps; ++i) {
    const auto took = step(batch, options_.context + i, 1);
    if (i >= warm_steps) seconds.push_back(took);
  }
  const int last = options_.context + warm_steps + options_.decode_steps - 1;
  const auto bytes =
      static_cast<double>(subject_->step_bytes() + count_experts(batch, last, 1) * subject_->expert_bytes() +
                          std::int64_t{batch} * (last + 1) * cache_token_bytes_);
  const double flops = batch * step_flops(config_, 1, options_.context + options_.decode_steps / 2, 1);
  auto row = make_row("decode", batch, median(seconds), batch, bytes, flops);
  row.fraction = row.bytes_per_token * row.tokens_per_s / 1e9 / row.stream_gbs;
  return row;
}

bench_row bench::prefill(int rows) {
  std::vector<double> seconds;
  for (int i = 0; i < prefill_passes; ++i) seconds.push_back(step(1, 0, rows));
  const auto bytes = static_cast<double>(subject_->step_bytes() + count_experts(1, 0, rows) * subject_->expert_bytes() +
                                         rows * cache_token_bytes_);
  auto row = make_row("prefill", 1, median(seconds), rows, bytes, step_flops(config_, rows, rows, 1));
  row.fraction = row.gemm_gflops > 0 ? row.gflops / row.gemm_gflops : 0;
  return row;
}

/// The yardsticks are taken beside each row: on a shared machine they move as the row does.
bench_row bench::make_row(const char* phase, int batch, double seconds, double tokens, double bytes, double flops) {
  return {.shape = options_.shape,
          .device = subject_->device(),
          .phase = phase,
          .batch = batch,
          .rows = static_cast<int>(tokens),
          .dtype = name_of(options_.weights),
          .step_ms = seconds * 1e3,
          .tokens_per_s = tokens / seconds,
          .bytes_per_token = bytes / tokens,
          .stream_gbs = subject_->read_gbs(),
          .gflops = flops / seconds / 1e9,
          .gemm_gflops = subject_->gemm_gflops()};
}

} // namespace

result<std::vector<bench_row>> bench_engine(const bench_options& options) {
  TROUPE_ASSIGN(const auto engine, bench::open(options));
  std::vector<bench_row> rows;
  for (const int batch : options.batches) rows.push_back(engine->decode(batch));
  for (const int tokens : options.prefill_tokens) rows.push_back(engine->prefill(tokens));
  return rows;
}

} // namespace troupe::exec
