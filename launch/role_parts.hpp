// From a checkpoint and an assignment to what a role's actor is made of. Each role opens only the tensors it owns.
#pragma once

#include "actors/expert_shard.hpp"
#include "actors/kv_cache.hpp"
#include "runtime/core/result.hpp"
#include "runtime/exec/cpu_engine.hpp"
#include "runtime/exec/device/plugin.hpp"
#include "runtime/exec/model_weights.hpp"
#include "runtime/model/config.hpp"

#include <memory>
#include <span>
#include <string>

namespace troupe::launch {

struct opened_model {
  model::model_config config;
  /// Mapped; no tensor is read before a role wants it. Or `--load-format dummy`, the same numbers in every process.
  std::unique_ptr<exec::weight_source> weights;
};

/// Errors: bad_input or unsupported, naming file and reason.
result<opened_model> open_model(const serving_options& options);

/// Unmap what the role does not read: an expert_shard never maps attention weights. Errors: bad_input, naming file,
/// tensor and reason.
result<void> keep_attention(opened_model& model);
result<void> keep_experts(opened_model& model, std::span<const expert_index> experts);

/// How many compute threads a role gets: as asked for, or the machine's cores shared by `roles_beside_it`.
int threads_of(const serving_options& options, int roles_beside_it);
/// Whether so many roles may compute at once on this host's cores without taking turns. Only where --threads says so:
/// by default each role uses all cores while the others wait for it.
bool have_own_cores(const serving_options& options, int roles);

/// The instruction set that `--isa` names; for "auto" the fastest of this machine. Errors: bad_input (no such set),
/// unsupported, in one line that says which set this machine runs: all roles of a cluster need the same.
result<kernels::isa> choose_isa(const std::string& flag);

/// What a role computes on: `--device`.
struct compute_device {
  exec::cpu_options cpu;                       ///< unused with a plug-in
  std::shared_ptr<exec::device_plugin> plugin; ///< null: the CPU
  exec::load_progress progress;                ///< writes how far loading is to the log

  /// "cpu/amx_bf16 x2", "cuda/sm_90a NVIDIA H200 #0": for `troupe status`.
  std::string name() const;
};
/// `nth` tells roles of one kind apart: with "cuda", the nth takes GPU nth modulo how many there are.
/// Errors: bad_input (the flag), unsupported (no plug-in, driver, GPU or AVX2).
result<compute_device> open_compute_device(const serving_options& options, int nth, int roles_beside_it);
/// The number format of rows between roles: all roles of one model must agree.
moe::element element_of(const opened_model& model, const compute_device& device);

/// A kv_cache whose experts are reached through `experts`.
result<std::shared_ptr<kv_cache_parts>> make_kv_cache(const opened_model& model, const role_assignment& assignment,
                                                      const compute_device& device, const supervisor_actor& supervisor,
                                                      std::unique_ptr<exec::expert_client> experts);

result<std::shared_ptr<expert_shard_parts>> make_expert_shard(const opened_model& model,
                                                              const role_assignment& assignment,
                                                              const compute_device& device,
                                                              const supervisor_actor& supervisor);

/// All experts inside this process, called without a hop.
result<std::unique_ptr<exec::expert_client>> make_local_experts(const opened_model& model,
                                                                const compute_device& device);

} // namespace troupe::launch
