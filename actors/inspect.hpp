// Wire forms of the types that runtime/ and the gateways define; CAF 0.17 style, found by argument-dependent look-up.
#pragma once

#include "actors/generation_service.hpp"
#include "actors/serving_options.hpp"
#include "runtime/cluster/membership.hpp"
#include "runtime/core/device_segment.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/exec/expert_client.hpp"
#include "runtime/moe/dispatch.hpp"
#include "runtime/net/bridge/segment_wire.hpp"

#include <caf/deserializer.hpp>
#include <caf/error.hpp>
#include <caf/meta/load_callback.hpp>
#include <caf/meta/type_name.hpp>
#include <caf/sec.hpp>
#include <caf/serializer.hpp>

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

namespace troupe {

/// A vector of plain values that travels as one block of bytes instead of value by value (caf-ucx.md section 1).
template <class T>
struct bulk_ref {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<T>& values;
};

template <class T>
bulk_ref<T> bulk(const std::vector<T>& values) {
  return {const_cast<std::vector<T>&>(values)}; // one inspect function both reads and writes, as in CAF
}

template <class T>
caf::error inspect(caf::serializer& f, bulk_ref<T> x) {
  auto count = static_cast<std::uint64_t>(x.values.size());
  if (auto failed = f(count)) return failed;
  return count == 0 ? caf::none : f.apply_raw(count * sizeof(T), x.values.data());
}

template <class T>
caf::error inspect(caf::deserializer& f, bulk_ref<T> x) {
  std::uint64_t count = 0;
  if (auto failed = f(count)) return failed;
  if (count > limits::message_bytes_max / sizeof(T)) return caf::sec::malformed_basp_message;
  x.values.resize(count);
  return count == 0 ? caf::none : f.apply_raw(count * sizeof(T), x.values.data());
}

/// Printing (CAF's to_string) shows the size only: prompts do not get into logs.
template <class Inspector, class T>
requires(!std::is_base_of_v<caf::serializer, Inspector> && !std::is_base_of_v<caf::deserializer, Inspector>)
    typename Inspector::result_type inspect(Inspector& f, bulk_ref<T> x) {
  return f(x.values.size());
}

/// A message names its fields once, in `auto fields() { return std::tie(...); }`: that is its wire form.
template <class T>
concept has_fields = requires(T& x) {
  x.fields();
};

template <class Inspector, has_fields T>
typename Inspector::result_type inspect(Inspector& f, T& x) {
  return std::apply([&](auto&... field) { return f(field...); }, x.fields());
}

template <class Inspector, class Tag, class T>
typename Inspector::result_type inspect(Inspector& f, strong_id<Tag, T>& x) {
  return f(x.value);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, sampling_params& x) {
  return f(caf::meta::type_name("sampling_params"), x.temperature, x.top_k, x.top_p, x.min_p, x.repetition_penalty,
           x.presence_penalty, x.frequency_penalty, x.seed, x.max_tokens, x.min_tokens, x.ignore_eos, x.stop_token_ids,
           x.logprobs, x.prompt_logprobs);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, generation_request& x) {
  return f(caf::meta::type_name("generation_request"), x.id, bulk(x.prompt), x.sampling, x.priority, bulk(x.output));
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, token_event& x) {
  return f(caf::meta::type_name("token_event"), x.id, x.index, x.token, x.logprob, bulk(x.top), x.finish, x.queue_ms);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, step_histogram& x) {
  return f(caf::meta::type_name("step_histogram"), x.steps, x.rows);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, role_status& x) {
  return f(caf::meta::type_name("role_status"), x.role, x.name, x.device, x.state, x.pid, x.steps, x.step_age_ms,
           x.running, x.waiting, x.kv_usage, x.drafts_proposed, x.drafts_accepted, x.restarts, x.preemptions, x.pages,
           x.step_rows);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, cluster_status& x) {
  return f(caf::meta::type_name("cluster_status"), x.ready, x.roles);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, serving_options& x) {
  return f(caf::meta::type_name("serving_options"), x.model_dir, x.device, x.dtype, x.threads, x.max_num_seqs,
           x.max_num_batched_tokens, x.max_model_len, x.kv_cache_ratio, x.seed, x.speculative, x.isa, x.deterministic,
           x.kv_cache_dtype, x.load_format);
}

namespace cluster {

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, progress_report& x) {
  return f(caf::meta::type_name("progress_report"), x.steps, x.running, x.waiting, x.kv_usage, x.drafts_proposed,
           x.drafts_accepted, x.preemptions, x.pages, x.step_rows);
}

} // namespace cluster

namespace exec {

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, mapped_batch& x) {
  return f(caf::meta::type_name("mapped_batch"), x.layer, x.hidden_size, x.row_count, x.experts_per_row, x.rows);
}

} // namespace exec

namespace moe {

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, placement& x) {
  return f(caf::meta::type_name("placement"), x.epoch, bulk(x.owner));
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, shard_batch& x) {
  return f(caf::meta::type_name("shard_batch"), x.layer, x.type, x.hidden_size, x.inputs, bulk(x.experts),
           bulk(x.rows));
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, shard_output& x) {
  return f(caf::meta::type_name("shard_output"), x.outputs);
}

} // namespace moe

} // namespace troupe
