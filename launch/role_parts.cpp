#include "launch/role_parts.hpp"

#include "runtime/exec/local_expert_client.hpp"

#include <algorithm>
#include <numeric>
#include <thread>

namespace troupe::launch {

result<opened_model> open_model(const std::string& dir) {
  TROUPE_ASSIGN(auto config, model::load_config(dir));
  TROUPE_ASSIGN(auto weights, model::checkpoint::open(dir));
  return opened_model{std::move(config), std::move(weights)};
}

int threads_of(const serving_options& options, int roles_beside_it) {
  if (options.threads > 0) return options.threads;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, roles_beside_it));
}

result<exec::cpu_options> cpu_options_of(const serving_options& options, int roles_beside_it) {
  exec::cpu_options cpu;
  TROUPE_ASSIGN(cpu.dtype, exec::parse_dtype(options.dtype));
  cpu.isa = kernels::best_isa();
  if (!cpu.isa) return error{errc::unsupported, "the CPU engine needs AVX2 and FMA; this machine has neither"};
  cpu.pool = std::make_shared<kernels::thread_pool>(threads_of(options, roles_beside_it));
  return cpu;
}

moe::element element_of(const opened_model& model, const exec::cpu_options& cpu) {
  return exec::cpu_element(exec::checkpoint_weights(model.weights, model.config), cpu);
}

result<std::shared_ptr<kv_cache_parts>> make_kv_cache(const opened_model& model, const role_assignment& assignment,
                                                      const exec::cpu_options& cpu, const supervisor_actor& supervisor,
                                                      std::unique_ptr<exec::expert_client> experts) {
  const auto& options = assignment.options;
  const auto pages_per_request = (options.max_model_len + limits::page_tokens - 1) / limits::page_tokens;
  exec::cpu_engine_options engine_options;
  engine_options.cpu = cpu;
  engine_options.kv_cache_ratio = options.kv_cache_ratio;
  engine_options.page_count_max = pages_per_request * options.max_num_seqs;

  auto parts = std::make_shared<kv_cache_parts>();
  TROUPE_ASSIGN(parts->engine, exec::make_cpu_engine(model.weights, model.config, engine_options));
  const auto& info = parts->engine->info();
  if (info.page_count < pages_per_request)
    return error{errc::overloaded, "memory for " + std::to_string(info.page_count) + " cache pages; one request of " +
                                       std::to_string(options.max_model_len) + " tokens (--max-model-len) needs " +
                                       std::to_string(pages_per_request)};
  parts->process = assignment.process;
  parts->device = device_name(cpu);
  parts->supervisor = supervisor;
  parts->experts = std::move(experts);
  parts->options.sampling = {assignment.vocab_size, model.config.eos_token_ids};
  auto& scheduling = parts->options.scheduling;
  scheduling.max_num_seqs = options.max_num_seqs;
  scheduling.max_num_batched_tokens = options.max_num_batched_tokens;
  scheduling.max_model_len = options.max_model_len;
  scheduling.speculate = options.speculative;
  return parts;
}

result<std::shared_ptr<expert_shard_parts>> make_expert_shard(const opened_model& model,
                                                              const role_assignment& assignment,
                                                              const exec::cpu_options& cpu,
                                                              const supervisor_actor& supervisor) {
  const auto experts = assignment.placement.experts_of(assignment.shard);
  auto parts = std::make_shared<expert_shard_parts>();
  TROUPE_ASSIGN(parts->engine, exec::make_cpu_expert_engine(model.weights, model.config, experts, cpu));
  parts->process = assignment.process;
  parts->supervisor = supervisor;
  return parts;
}

result<std::unique_ptr<exec::expert_client>> make_local_experts(const opened_model& model,
                                                                const exec::cpu_options& cpu) {
  std::vector<expert_index> all(static_cast<std::size_t>(model.config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::unique_ptr<exec::expert_engine>> engines;
  if (!all.empty()) {
    TROUPE_ASSIGN(auto engine, exec::make_cpu_expert_engine(model.weights, model.config, all, cpu));
    engines.push_back(std::move(engine));
  }
  return std::unique_ptr<exec::expert_client>(std::make_unique<exec::local_expert_client>(
      std::move(engines), moe::place_evenly(model.config.expert_count, 1, 1), model.config.hidden_size,
      element_of(model, cpu)));
}

std::string device_name(const exec::cpu_options& cpu) {
  return "cpu/" + std::string(kernels::name_of(*cpu.isa)) + " x" + std::to_string(cpu.pool->size());
}

} // namespace troupe::launch
