// The weights of the CPU engines in memory: packed once for one target, FP8 and BF16 in their own size.
#pragma once

#include "kernels/cpu/expert_ffn.hpp"
#include "kernels/cpu/matrix.hpp"
#include "kernels/cpu/mla_attention.hpp"
#include "kernels/cpu/rope.hpp"
#include "kernels/cpu/router.hpp"
#include "runtime/exec/cpu_engine.hpp"

#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace troupe::exec {

/// What the engines of one process compute with.
struct cpu_device {
  kernels::target target;
  std::shared_ptr<kernels::thread_pool> pool;
};

/// Resolves "automatic" and zeros. Errors: unsupported (no AVX2, or `isa` not of this machine).
result<cpu_device> open_cpu(const weight_source& weights, const cpu_options& options);

/// Names as in model-spec.md 2.3. Vectors that the config does without are empty.
struct attention_weights {
  kernels::matrix q_a; ///< [q_lora_rank, hidden]; no rows if the query is one projection
  std::vector<float> q_a_bias, q_a_norm;
  kernels::matrix q; ///< q_b_proj [heads * (nope + rope), q_lora_rank], or q_proj [.., hidden]
  kernels::matrix kv_a;
  std::vector<float> kv_a_bias, kv_a_norm;
  std::optional<kernels::mla_weights> kv_b; ///< always set
  kernels::matrix o;
  std::vector<float> o_bias;

  std::int64_t bytes() const { return q_a.bytes() + q.bytes() + kv_a.bytes() + kv_b->bytes() + o.bytes(); }
};

struct layer_weights {
  std::vector<float> input_norm;
  attention_weights attention;
  std::vector<float> post_attention_norm;
  std::optional<kernels::router> gate; ///< none: a dense layer
  kernels::ffn_weights ffn;            ///< the dense MLP, or the shared experts as one; no rows if there are none

  std::int64_t bytes() const { return attention.bytes() + (gate ? gate->bytes() : 0) + ffn.bytes(); }
};

struct mtp_weights {
  std::vector<float> enorm, hnorm;
  kernels::matrix eh_proj; ///< [hidden, 2 hidden], embedding half first
  layer_weights layer;
  std::vector<float> head_norm;
};

/// The embedding as the checkpoint stores it, since a lookup needs rows.
struct embedding_table {
  kernels::buffer memory;
  kernels::weight_view view;
};

/// Everything but the routed experts.
struct cpu_weights {
  embedding_table embedding;
  std::vector<layer_weights> layers;
  std::vector<float> norm;
  kernels::matrix head;
  std::optional<mtp_weights> mtp;
};

result<cpu_weights> load_cpu_weights(weight_source& from, const model::model_config& config, const cpu_device& device,
                                     const cpu_options& options);

/// One routed expert of one layer.
result<kernels::ffn_weights> load_expert(weight_source& from, const model::model_config& config, layer_index layer,
                                         expert_index expert, kernels::target t);

/// Errors: as choose_cache().
result<kernels::cache_format> choose_cache(cache_dtype dtype, const model::model_config& config,
                                           const cpu_device& device);

kernels::mla_shape mla_shape_of(const model::model_config& config);
kernels::rope_config rope_config_of(const model::model_config& config);
kernels::gate_config gate_config_of(const model::model_config& config);

} // namespace troupe::exec
