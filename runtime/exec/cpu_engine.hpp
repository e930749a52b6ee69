// The engines of a host without a GPU: the model around the experts (kv_cache) and the experts (expert_shard).
// Deterministic by construction: a row's bits depend on its own sequence, the weights, the dtype and the instruction
// set, never on batch, chunking, threads or shards (ARCHITECTURE.md, contract 2).
#pragma once

#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/thread_pool.hpp"
#include "runtime/exec/cache_dtype.hpp"
#include "runtime/exec/engine.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/exec/model_weights.hpp"
#include "runtime/model/config.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace troupe::exec {

/// `--dtype`. automatic: float32 if the checkpoint's embedding is F32, else bfloat16.
enum class cpu_dtype : std::uint8_t { automatic, float32, bfloat16 };
/// "auto", "float32", "bfloat16". Errors: bad_input for anything else.
result<cpu_dtype> parse_dtype(std::string_view name);

struct cpu_options {
  cpu_dtype dtype = cpu_dtype::automatic;
  std::optional<kernels::isa> isa;            ///< the fastest of this machine if not set
  int threads = 0;                            ///< 0: one for each core this process may use
  std::shared_ptr<kernels::thread_pool> pool; ///< shared by engines called from one thread; made if null
  /// Called while loading, one call at a time from any thread: layers or experts done, and how many there are. May be
  /// empty.
  std::function<void(std::int64_t done, std::int64_t count)> progress;
};

struct cpu_engine_options {
  cpu_options cpu;
  cache_dtype cache = cache_dtype::automatic;
  std::int32_t page_count = 0;        ///< pages of the latent cache; 0: by the two fields below
  double kv_cache_ratio = 0.8;        ///< share of the memory left once the weights are loaded ...
  std::int32_t page_count_max = 4096; ///< ... but no more pages than this; they cost memory only once written
};

/// Loads everything but the routed experts; `weights` may go afterwards. Errors: bad_input (a tensor is missing or has
/// the wrong shape), unsupported (no AVX2, `isa` not of this machine, choose_cache()), overloaded (no memory for one
/// page).
result<std::unique_ptr<engine>> make_cpu_engine(weight_source& weights, const model::model_config& config,
                                                const cpu_engine_options& options);

/// Loads the given experts of every MoE layer, the MTP module's included. `experts` ascending, without repetition.
/// Errors: as make_cpu_engine.
result<std::unique_ptr<expert_engine>> make_cpu_expert_engine(weight_source& weights, const model::model_config& config,
                                                              std::span<const expert_index> experts,
                                                              const cpu_options& options);

/// How rows travel between engine and experts: f32 for float32, bf16 otherwise. All roles of one model must agree.
moe::element cpu_element(const weight_source& weights, const cpu_options& options);

} // namespace troupe::exec
