// What a cluster that is not at hand would do: memory, step times and throughput of a model on N GPUs, from the sizes
// of its matrices and a few measured figures. Every GPU is a kv_cache for its own sequences and an expert_shard for
// its share of the experts, as in a recipe with one process a GPU.
//
//   time of a part = max(bytes / read rate, FLOP / product rate) / fraction of that limit our kernels reach
//
// Formulas: shared/reference/kernels.md section 2. Nothing is overlapped, routing is uniform: a plan, not a promise.
#pragma once

#include "kernels/cache_format.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::exec {

/// One kind of GPU, per GPU: rates in bytes/s and FLOP/s.
struct gpu_figures {
  std::string name; ///< "H200"
  double memory_bytes = 0;
  double read_rate = 0; ///< a read-only reduction
  double bf16_rate = 0; ///< a large product
  double fp8_rate = 0;
  double link_rate = 0;  ///< to the other GPUs of its host, one direction
  bool measured = false; ///< by our own benches; else taken from the data sheet and published figures
};

/// How much of its limit each kind of kernel reaches: (0, 1].
struct kernel_fractions {
  double expert_ffn = 1;
  double mla_decode = 1;
  double dense = 1; ///< projections and dense layers of a decode step
  double prefill = 1;
};

/// Of our own kernels on an H200 (kernels/README.md).
kernel_fractions measured_fractions();

struct cluster_shape {
  std::vector<std::pair<int, gpu_figures>> groups; ///< how many of which kind
  int gpus_per_host = 8;
  double network_rate = 50e9;    ///< bytes/s a GPU can send to other hosts
  double exchange_latency_s = 0; ///< of one all-to-all

  int gpu_count() const;
};

struct workload {
  int batch = 64;     ///< sequences a GPU decodes
  int context = 4096; ///< tokens each of them has
  kernels::cache_format cache = kernels::cache_format::plain;
};

/// Per GPU; the cluster goes at the pace of its slowest kind.
struct memory_plan {
  double weight_bytes = 0; ///< attention, dense layers, embedding, head, and its share of the experts
  double kv_bytes = 0;     ///< what is left for the latent cache
  std::int64_t kv_tokens = 0;
  int experts = 0; ///< of each layer on one GPU
};

/// Seconds.
struct step_plan_times {
  double attention = 0; ///< projections and MLA core
  double experts = 0;   ///< routed and shared, gate included
  double exchange = 0;  ///< dispatch and combine
  double rest = 0;      ///< dense layers, embedding, head
  double total() const { return attention + experts + exchange + rest; }
};

/// Errors: not_found naming the kinds there are.
result<gpu_figures> gpu_named(std::string_view name);
/// "8xH200,32xH100". Errors: bad_input, not_found.
result<cluster_shape> parse_gpus(std::string_view text);

/// Errors: overloaded when the weights do not fit, with the number of GPUs that would do.
result<memory_plan> plan_memory(const model::model_config& model, const cluster_shape& cluster,
                                kernels::cache_format cache = kernels::cache_format::plain, double usable = 0.92);
/// One decode step of the whole cluster.
step_plan_times plan_decode(const model::model_config& model, const cluster_shape& cluster,
                            const kernel_fractions& reached, const workload& load);
/// One prompt of `tokens` alone: attention on one GPU, experts on all.
step_plan_times plan_prefill(const model::model_config& model, const cluster_shape& cluster,
                             const kernel_fractions& reached, int tokens);

} // namespace troupe::exec
