#include "runtime/exec/capacity.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace troupe::exec {

namespace {

/// Rates of SXM cards; memory in bytes as the driver gives it. H200: kernels/README.md. H100: reference/kernels.md
/// section 0. A100: its data sheet, without FP8.
const std::vector<gpu_figures>& known_gpus() {
  static const std::vector<gpu_figures> all{
      {"H200", 139.8 * (1u << 30), 4.55e12, 790e12, 1460e12, 450e9, true},
      {"H100", 79.6 * (1u << 30), 3.11e12, 791e12, 1460e12, 450e9, true},
      {"A100", 79.3 * (1u << 30), 1.8e12, 280e12, 280e12, 300e9, false},
  };
  return all;
}

constexpr double fp8_row_bytes = 1 + 4.0 / 128; ///< an FP8 value and its share of a 1x128 scale
constexpr double bf16_bytes = 2;

/// Weights of one layer or of the whole model, in parameters (FP8: one byte each) unless the name says otherwise.
struct sizes {
  explicit sizes(const model::model_config& c) : heads(c.head_count), latent(c.latent_dim()), layers(c.layer_count) {
    const double hidden = c.hidden_size;
    const double q =
        c.q_lora_rank ? c.q_lora_rank * (hidden + heads * c.qk_head_dim()) : hidden * heads * c.qk_head_dim();
    attention = q + latent * hidden + heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank +
                hidden * heads * c.v_head_dim;
    expert = 3.0 * c.moe_intermediate_size * hidden;
    dense = 3.0 * c.intermediate_size * hidden;
    gate_bytes = c.expert_count * hidden * bf16_bytes;
    head_bytes = c.vocab_size * hidden * bf16_bytes;
    for (int layer = 0; layer < c.layer_count; ++layer) moe_layers += c.is_moe(layer);
  }
  double heads, latent, layers;
  double attention, expert, dense, gate_bytes, head_bytes;
  double moe_layers = 0;
};

/// The slowest of all in every respect: steps end together.
gpu_figures slowest(const cluster_shape& cluster) {
  auto out = cluster.groups.front().second;
  for (const auto& [count, gpu] : cluster.groups) {
    out.memory_bytes = std::min(out.memory_bytes, gpu.memory_bytes);
    out.read_rate = std::min(out.read_rate, gpu.read_rate);
    out.bf16_rate = std::min(out.bf16_rate, gpu.bf16_rate);
    out.fp8_rate = std::min(out.fp8_rate, gpu.fp8_rate);
    out.link_rate = std::min(out.link_rate, gpu.link_rate);
  }
  return out;
}

/// Of one position of one layer.
double entry_bytes(const model::model_config& model, kernels::cache_format cache) {
  return static_cast<double>(kernels::cache_entry_bytes(cache, model.kv_lora_rank, model.qk_rope_head_dim));
}

int experts_on(const model::model_config& model, int gpus) { return (model.expert_count + gpus - 1) / gpus; }

double replicated_bytes(const sizes& s, const model::model_config& model) {
  return s.layers * s.attention + s.moe_layers * (model.shared_expert_count * s.expert + s.gate_bytes) +
         (s.layers - s.moe_layers) * s.dense + 2 * s.head_bytes;
}

/// `rows` of one GPU to the experts and back: FP8 there, BF16 back.
double exchange_time(const model::model_config& model, const cluster_shape& cluster, const gpu_figures& gpu,
                     double rows) {
  const int gpus = cluster.gpu_count();
  if (gpus == 1) return 0;
  const double bytes = rows * model.experts_per_token * model.hidden_size * (fp8_row_bytes + bf16_bytes);
  const int near = std::min(gpus, cluster.gpus_per_host);
  const double inside = bytes * (near - 1) / gpus / gpu.link_rate;
  const double outside = bytes * (gpus - near) / gpus / cluster.network_rate;
  return std::max(inside, outside) + 2 * cluster.exchange_latency_s;
}

} // namespace

/// kernels/README.md, one H200: 32 experts x 16 rows; 128 sequences of 4096 tokens; the attention block of one token; a
/// prefill chunk of 512 tokens.
kernel_fractions measured_fractions() {
  return {.expert_ffn = 0.85, .mla_decode = 0.68, .dense = 0.46, .prefill = 0.33};
}

int cluster_shape::gpu_count() const {
  int sum = 0;
  for (const auto& [count, gpu] : groups) sum += count;
  return sum;
}

result<gpu_figures> gpu_named(std::string_view name) {
  std::string names;
  for (const auto& gpu : known_gpus()) {
    if (gpu.name == name) return gpu;
    names += (names.empty() ? "" : ", ") + gpu.name;
  }
  return error{errc::not_found, "no figures for GPU '" + std::string(name) + "': " + names};
}

result<cluster_shape> parse_gpus(std::string_view text) {
  cluster_shape out;
  while (!text.empty()) {
    const auto part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    int count = 0;
    const auto [end, failed] = std::from_chars(part.data(), part.data() + part.size(), count);
    if (failed != std::errc{} || count < 1 || count > 100'000 || end == part.data() + part.size() || *end != 'x')
      return error{errc::bad_input, "GPUs '" + std::string(part) + "': expected a count and a kind, like 8xH200"};
    TROUPE_ASSIGN(auto gpu, gpu_named(part.substr(static_cast<std::size_t>(end + 1 - part.data()))));
    out.groups.emplace_back(count, std::move(gpu));
  }
  if (out.groups.empty()) return error{errc::bad_input, "no GPUs given: like 8xH200 or 8xH200,32xH100"};
  return out;
}

result<memory_plan> plan_memory(const model::model_config& model, const cluster_shape& cluster,
                                kernels::cache_format cache, double usable) {
  const sizes s(model);
  const auto room = slowest(cluster).memory_bytes * usable;
  const auto fixed = replicated_bytes(s, model);
  memory_plan out;
  out.experts = experts_on(model, cluster.gpu_count());
  out.weight_bytes = fixed + s.moe_layers * out.experts * s.expert;
  out.kv_bytes = room - out.weight_bytes;
  if (out.kv_bytes <= 0) {
    const int share = static_cast<int>((room - fixed) / (s.moe_layers * s.expert));
    const auto advice = share < 1 ? std::string("not even one expert of each layer fits beside the rest")
                                  : std::to_string(experts_on(model, share)) + " GPUs would hold it";
    return error{errc::overloaded, "the weights take " + std::to_string(static_cast<int>(out.weight_bytes / 1e9)) +
                                       " GB of each GPU's " + std::to_string(static_cast<int>(room / 1e9)) +
                                       " GB: " + advice};
  }
  out.kv_tokens = static_cast<std::int64_t>(out.kv_bytes / (s.layers * entry_bytes(model, cache)));
  return out;
}

step_plan_times plan_decode(const model::model_config& model, const cluster_shape& cluster,
                            const kernel_fractions& reached, const workload& load) {
  const sizes s(model);
  const auto gpu = slowest(cluster);
  const int gpus = cluster.gpu_count();
  const double rows = load.batch, all_rows = rows * gpus;
  const auto matrix = [&](double parameters, double by_rows) {
    return std::max(parameters / gpu.read_rate, 2 * by_rows * parameters / gpu.fp8_rate);
  };
  const double positions = rows * load.context;
  const double core = std::max(positions * entry_bytes(model, load.cache) / gpu.read_rate,
                               2 * positions * s.heads * (s.latent + model.kv_lora_rank) / gpu.bf16_rate);

  const int local = experts_on(model, gpus);
  const double idle = model.expert_count ? 1 - double(model.experts_per_token) / model.expert_count : 0;
  const double touched = local * (1 - std::pow(idle, all_rows)); // uniform routing
  const double routed = std::max(touched * s.expert / gpu.read_rate,
                                 2 * all_rows * model.experts_per_token / gpus * s.expert / gpu.fp8_rate);
  const double shared = matrix(model.shared_expert_count * s.expert, rows) + s.gate_bytes / gpu.read_rate;

  step_plan_times out;
  out.attention = s.layers * (matrix(s.attention, rows) / reached.dense + core / reached.mla_decode);
  out.experts = s.moe_layers * (routed + shared) / reached.expert_ffn;
  out.exchange = s.moe_layers * exchange_time(model, cluster, gpu, rows);
  out.rest = ((s.layers - s.moe_layers) * matrix(s.dense, rows) + s.head_bytes / gpu.read_rate) / reached.dense;
  return out;
}

step_plan_times plan_prefill(const model::model_config& model, const cluster_shape& cluster,
                             const kernel_fractions& reached, int tokens) {
  const sizes s(model);
  const auto gpu = slowest(cluster);
  const double rows = tokens;
  const auto matrix = [&](double parameters, double by_rows) {
    return std::max(parameters / gpu.read_rate, 2 * by_rows * parameters / gpu.fp8_rate) / reached.prefill;
  };
  const double pairs = rows * rows / 2; // causal
  const double core = 2 * s.heads * (model.qk_head_dim() + model.v_head_dim) * pairs / gpu.bf16_rate / reached.prefill;
  const int local = experts_on(model, cluster.gpu_count());
  const double rows_an_expert = model.expert_count ? rows * model.experts_per_token / model.expert_count : 0;

  step_plan_times out;
  out.attention = s.layers * (matrix(s.attention, rows) + core);
  out.experts =
      s.moe_layers * (local * matrix(s.expert, rows_an_expert) + matrix(model.shared_expert_count * s.expert, rows));
  out.exchange = s.moe_layers * exchange_time(model, cluster, gpu, rows);
  out.rest = (s.layers - s.moe_layers) * matrix(s.dense, rows) + s.head_bytes / gpu.read_rate / reached.dense;
  return out;
}

} // namespace troupe::exec
