#include "runtime/exec/engine_bench_subject.hpp"

#include "kernels/cpu/stream.hpp"
#include "runtime/exec/cpu_experts.hpp"
#include "runtime/exec/cpu_model.hpp"
#include "runtime/exec/device/plugin.hpp"
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

class cpu_subject final : public bench_subject {
 public:
  explicit cpu_subject(const bench_options& options) : stream_bytes_(options.stream_bytes) {}

  result<void> load(const bench_options& options, const model::model_config& config, std::int32_t pages);

  engine& model() override { return *model_; }
  expert_client& experts() override { return *experts_; }
  std::string device() const override { return model_->info().name; }
  std::int64_t step_bytes() const override { return model_->step_bytes(); }
  std::int64_t expert_bytes() const override { return expert_bytes_; }
  bool counts_experts() const override { return true; }
  double read_gbs() override { return kernels::stream_read_gbs(*device_.pool, stream_bytes_, stream_passes); }
  double gemm_gflops() override;

 private:
  std::int64_t stream_bytes_;
  model::model_config config_;
  cpu_device device_;
  kernels::matrix gemm_weights_;
  std::unique_ptr<cpu_model> model_;
  std::unique_ptr<local_expert_client> experts_;
  std::int64_t expert_bytes_ = 0;
};

result<void> cpu_subject::load(const bench_options& options, const model::model_config& config, std::int32_t pages) {
  config_ = config;
  const auto bytes = parameter_count(config) * static_cast<std::int64_t>(bytes_of(options.weights));
  if (bytes > available_memory_bytes())
    return error{errc::overloaded, "shape '" + options.shape + "' takes " + std::to_string(bytes >> 30) +
                                       " GiB of weights; free are " + std::to_string(available_memory_bytes() >> 30)};
  random_weights weights(options.seed, options.weights);
  TROUPE_ASSIGN(device_, open_cpu(weights, options.cpu));
  auto cpu = options.cpu;
  cpu.pool = device_.pool;
  TROUPE_ASSIGN(const auto gemm, weights.matrix("bench.up_proj.weight", gemm_size, gemm_size));
  gemm_weights_ = kernels::matrix(gemm.view, device_.target);
  TROUPE_ASSIGN(auto loaded, load_cpu_weights(weights, config_, device_, cpu));
  TROUPE_ASSIGN(const auto format, choose_cache(options.cache, config_, device_));
  model_ = std::make_unique<cpu_model>(config_, device_, std::move(loaded), pages, format);

  std::vector<expert_index> all(static_cast<std::size_t>(config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  TROUPE_ASSIGN(auto shard, cpu_experts::load(weights, config_, all, cpu));
  expert_bytes_ = shard->expert_bytes();
  std::vector<std::unique_ptr<expert_engine>> shards;
  shards.push_back(std::move(shard));
  experts_ = std::make_unique<local_expert_client>(std::move(shards), moe::place_evenly(config.expert_count, 1, 1),
                                                   config.hidden_size, cpu_element(weights, cpu));
  return {};
}

/// Of the best of some large products.
double cpu_subject::gemm_gflops() {
  const auto n = gemm_weights_.rows();
  std::vector<float> x(static_cast<std::size_t>(n * n), 0.5f), y(x.size());
  double best = 0;
  for (int pass = 0; pass < gemm_passes; ++pass) {
    const auto start = clock::now();
    gemm_weights_.multiply(*device_.pool, x.data(), n, n, y.data(), n);
    const std::chrono::duration<double> took = clock::now() - start;
    best = std::max(best, 2e-9 * static_cast<double>(n * n * n) / took.count());
  }
  return best;
}

class device_subject final : public bench_subject {
 public:
  result<void> load(const bench_options& options, const model::model_config& config, std::int32_t pages) {
    random_weights weights(options.seed, options.weights);
    TROUPE_ASSIGN(const auto choice, parse_device(options.device));
    TROUPE_ASSIGN(device_, open_device(choice.kind, choice.index));
    TROUPE_ASSIGN(experts_, device_->make_local_experts(weights, config));
    TROUPE_ASSIGN(model_, device_->make_engine(
                              weights, config,
                              {.cache = options.cache, .page_count = pages, .deterministic = options.deterministic}));
    step_bytes_ = device_step_bytes(config, options.weights);
    expert_bytes_ = std::int64_t{3} * config.hidden_size * config.moe_intermediate_size *
                    static_cast<std::int64_t>(bytes_of(options.weights));
    stream_bytes_ = static_cast<std::size_t>(options.stream_bytes);
    return {};
  }

  engine& model() override { return *model_; }
  expert_client& experts() override { return *experts_; }
  std::string device() const override { return device_->name(); }
  std::int64_t step_bytes() const override { return step_bytes_; }
  std::int64_t expert_bytes() const override { return expert_bytes_; }
  bool counts_experts() const override { return false; }
  double read_gbs() override { return device_->measure_read_gbs(stream_bytes_).value(); }
  double gemm_gflops() override { return 0; }

 private:
  std::unique_ptr<device_plugin> device_;
  std::unique_ptr<expert_client> experts_;
  std::unique_ptr<engine> model_;
  std::int64_t step_bytes_ = 0, expert_bytes_ = 0;
  std::size_t stream_bytes_ = 0;
};

} // namespace

result<std::unique_ptr<bench_subject>> make_cpu_subject(const bench_options& options, const model::model_config& config,
                                                        std::int32_t pages) {
  auto subject = std::make_unique<cpu_subject>(options);
  TROUPE_TRY(subject->load(options, config, pages));
  return std::unique_ptr<bench_subject>(std::move(subject));
}

result<std::unique_ptr<bench_subject>> make_device_subject(const bench_options& options,
                                                           const model::model_config& config, std::int32_t pages) {
  auto subject = std::make_unique<device_subject>();
  TROUPE_TRY(subject->load(options, config, pages));
  return std::unique_ptr<bench_subject>(std::move(subject));
}

} // namespace troupe::exec
