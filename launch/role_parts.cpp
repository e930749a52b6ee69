#include "launch/role_parts.hpp"

#include "launch/load_log.hpp"
#include "runtime/core/log.hpp"
#include "runtime/exec/local_expert_client.hpp"
#include "runtime/exec/random_weights.hpp"

#include <algorithm>
#include <numeric>
#include <thread>

namespace troupe::launch {

result<opened_model> open_model(const serving_options& options) {
  TROUPE_ASSIGN(auto config, model::load_config(options.model_dir));
  if (options.load_format == "dummy") {
    TROUPE_ASSIGN(const auto type, model::load_weight_type(options.model_dir));
    return opened_model{std::move(config), std::make_unique<exec::random_weights>(options.seed, type)};
  }
  TROUPE_ASSIGN(auto tensors, model::checkpoint::open(options.model_dir));
  auto weights = std::make_unique<exec::checkpoint_weights>(std::move(tensors), config);
  return opened_model{std::move(config), std::move(weights)};
}

result<void> keep_attention(opened_model& model) {
  return model.weights->keep(model::plan_attention(model.config, exec::has_mtp(*model.weights, model.config)));
}

result<void> keep_experts(opened_model& model, std::span<const expert_index> experts) {
  return model.weights->keep(model::plan_experts(model.config, experts, exec::has_mtp(*model.weights, model.config)));
}

int threads_of(const serving_options& options, int roles_beside_it) {
  if (options.threads > 0) return options.threads;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, roles_beside_it));
}

bool have_own_cores(const serving_options& options, int roles) {
  return options.threads > 0 && options.threads * roles <= static_cast<int>(std::thread::hardware_concurrency());
}

result<kernels::isa> choose_isa(const std::string& flag) {
  const auto best = kernels::best_isa();
  if (!best) return error{errc::unsupported, "the CPU engine needs AVX2 and FMA; this machine has neither"};
  if (flag == "auto") return *best;
  const auto wanted = kernels::isa_from_name(flag);
  if (!wanted) return error{errc::bad_input, "--isa " + flag + ": no such instruction set"};
  if (kernels::supported(*wanted)) return *wanted;
  const std::string name(kernels::name_of(*best));
  return error{errc::unsupported, "--isa " + flag + ": this machine runs " + name +
                                      " at best, and equal bits need one set for all roles: start with --isa " + name};
}

result<compute_device> open_compute_device(const serving_options& options, int nth, int roles_beside_it) {
  compute_device device;
  auto& cpu = device.cpu;
  TROUPE_ASSIGN(const auto choice, exec::parse_device(options.device));
  TROUPE_ASSIGN(cpu.dtype, exec::parse_dtype(options.dtype));
  device.progress = [says = load_log(clock::now())](std::int64_t done, std::int64_t count) mutable {
    if (const auto line = says.on_progress(done, count, clock::now())) log::info("{}", *line);
  };
  if (choice.kind != "cpu") {
    if (cpu.dtype == exec::cpu_dtype::float32)
      return error{errc::bad_input, "--dtype float32: device " + choice.kind + " computes in bfloat16 and FP8"};
    TROUPE_ASSIGN(device.plugin, exec::open_device(choice.kind, choice.index < 0 ? nth : choice.index));
    return device;
  }
  TROUPE_ASSIGN(cpu.isa, choose_isa(options.isa));
  cpu.pool = std::make_shared<kernels::thread_pool>(threads_of(options, roles_beside_it));
  cpu.progress = device.progress;
  return device;
}

std::string compute_device::name() const {
  return plugin ? plugin->name()
                : "cpu/" + std::string(kernels::name_of(*cpu.isa)) + " x" + std::to_string(cpu.pool->size());
}

moe::element element_of(const opened_model& model, const compute_device& device) {
  return device.plugin ? moe::element::bf16 : exec::cpu_element(*model.weights, device.cpu);
}

namespace {

result<std::unique_ptr<exec::engine>> make_engine(const opened_model& model, const compute_device& device,
                                                  const serving_options& serving, std::int32_t page_count_max) {
  TROUPE_ASSIGN(const auto cache, exec::parse_cache_dtype(serving.kv_cache_dtype));
  if (device.plugin) {
    const exec::device_engine_options options{.cache = cache,
                                              .kv_cache_ratio = serving.kv_cache_ratio,
                                              .page_count_max = page_count_max,
                                              .deterministic = serving.deterministic};
    return exec::make_device_engine(*device.plugin, *model.weights, model.config, options, device.progress);
  }
  exec::cpu_engine_options options;
  options.cpu = device.cpu;
  options.cache = cache;
  options.kv_cache_ratio = serving.kv_cache_ratio;
  options.page_count_max = page_count_max;
  return exec::make_cpu_engine(*model.weights, model.config, options);
}

result<std::unique_ptr<exec::expert_engine>> make_expert_engine(const opened_model& model, const compute_device& device,
                                                                std::span<const expert_index> experts) {
  auto& weights = *model.weights;
  return device.plugin
             ? exec::make_device_expert_engine(*device.plugin, weights, model.config, experts, device.progress)
             : exec::make_cpu_expert_engine(weights, model.config, experts, device.cpu);
}

} // namespace

result<std::shared_ptr<kv_cache_parts>> make_kv_cache(const opened_model& model, const role_assignment& assignment,
                                                      const compute_device& device, const supervisor_actor& supervisor,
                                                      std::unique_ptr<exec::expert_client> experts) {
  const auto& options = assignment.options;
  const auto pages_per_request = (options.max_model_len + limits::page_tokens - 1) / limits::page_tokens;
  auto parts = std::make_shared<kv_cache_parts>();
  TROUPE_ASSIGN(parts->engine, make_engine(model, device, options, pages_per_request * options.max_num_seqs));
  const auto& info = parts->engine->info();
  if (info.page_count < pages_per_request)
    return error{errc::overloaded, "memory for " + std::to_string(info.page_count) + " cache pages; one request of " +
                                       std::to_string(options.max_model_len) + " tokens (--max-model-len) needs " +
                                       std::to_string(pages_per_request)};
  parts->process = assignment.process;
  parts->device = device.name();
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
                                                              const compute_device& device,
                                                              const supervisor_actor& supervisor) {
  const auto experts = assignment.placement.experts_of(assignment.shard);
  auto parts = std::make_shared<expert_shard_parts>();
  TROUPE_ASSIGN(parts->engine, make_expert_engine(model, device, experts));
  parts->process = assignment.process;
  parts->supervisor = supervisor;
  return parts;
}

result<std::unique_ptr<exec::expert_client>> make_local_experts(const opened_model& model,
                                                                const compute_device& device) {
  if (device.plugin && model.config.expert_count > 0)
    return exec::make_device_local_experts(*device.plugin, *model.weights, model.config, device.progress);
  std::vector<expert_index> all(static_cast<std::size_t>(model.config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::unique_ptr<exec::expert_engine>> engines;
  if (!all.empty()) {
    TROUPE_ASSIGN(auto engine, make_expert_engine(model, device, all));
    engines.push_back(std::move(engine));
  }
  return std::unique_ptr<exec::expert_client>(std::make_unique<exec::local_expert_client>(
      std::move(engines), moe::place_evenly(model.config.expert_count, 1, 1), model.config.hidden_size,
      element_of(model, device)));
}

} // namespace troupe::launch
