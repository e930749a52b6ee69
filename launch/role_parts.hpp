// From a checkpoint and an assignment to what a role's actor is made of. Each role opens only the tensors it owns.
#pragma once

#include "actors/expert_shard.hpp"
#include "actors/kv_cache.hpp"
#include "runtime/core/result.hpp"
#include "runtime/exec/cpu_engine.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/config.hpp"

#include <memory>
#include <string>

namespace troupe::launch {

struct opened_model {
  model::model_config config;
  model::checkpoint weights; ///< mapped; no tensor is read before a role wants it
};

/// Errors: bad_input or unsupported, naming file and reason.
result<opened_model> open_model(const std::string& dir);

/// How many compute threads a role gets: as asked for, or the machine's cores shared by `roles_beside_it`.
int threads_of(const serving_options& options, int roles_beside_it);

/// The two halves of a role's engine. Both name the number format that all roles of one model must share.
result<exec::cpu_options> cpu_options_of(const serving_options& options, int roles_beside_it);
moe::element element_of(const opened_model& model, const exec::cpu_options& cpu);

/// A kv_cache whose experts are reached through `experts`.
result<std::shared_ptr<kv_cache_parts>> make_kv_cache(const opened_model& model, const role_assignment& assignment,
                                                      const exec::cpu_options& cpu, const supervisor_actor& supervisor,
                                                      std::unique_ptr<exec::expert_client> experts);

result<std::shared_ptr<expert_shard_parts>> make_expert_shard(const opened_model& model,
                                                              const role_assignment& assignment,
                                                              const exec::cpu_options& cpu,
                                                              const supervisor_actor& supervisor);

/// All experts inside this process, called without a hop.
result<std::unique_ptr<exec::expert_client>> make_local_experts(const opened_model& model,
                                                                const exec::cpu_options& cpu);

/// "cpu/amx_bf16 x2"
std::string device_name(const exec::cpu_options& cpu);

} // namespace troupe::launch
