// The weights of the CUDA engines in device memory: FP8 with 128x128 scales stays FP8, everything else is BF16.
#pragma once

#include "kernels/cuda/path.hpp"
#include "runtime/exec/cuda/uploader.hpp"
#include "runtime/exec/device/weight_shapes.hpp"
#include "runtime/exec/model_weights.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace troupe::exec {

/// [rows, cols] e4m3 with scales, or bf16 without.
struct device_matrix {
  device_memory data, scales;
  int rows = 0;
  int cols = 0;
  bool batch_invariant = true; ///< of products with it (linear.hpp)

  bool is_fp8() const { return scales.size() > 0; }
};

/// Dense MLP, shared experts as one, or all routed experts of a layer. No experts: there is none.
struct device_ffn {
  device_memory gate_up, down;               ///< [experts, 2 width, hidden] gate first, [experts, hidden, width]
  device_memory gate_up_scales, down_scales; ///< empty: bf16
  int experts = 0;
  int hidden = 0;
  int width = 0;
  bool batch_invariant = true;

  bool is_fp8() const { return gate_up_scales.size() > 0; }
  /// Whether the grouped Hopper kernels take them as routed experts, FP8 with FP8 activations (W8A8); else `linear`
  /// does.
  bool is_grouped() const {
    return fits_grouped_ffn(hidden, width, experts) && cuda::current_path() == cuda::kernel_path::hopper;
  }
};

/// Names as in model-spec.md 2.3; vectors are fp32 and empty where the config does without.
struct cuda_attention_weights {
  device_matrix in; ///< q_a, unless the query is one projection, and below it kv_a: one product reads the block's input
  device_memory in_bias;
  device_memory q_a_norm, kv_a_norm;
  device_matrix q;
  device_matrix key;   ///< of each head: W_UK transposed, [latent, nope] bf16
  device_matrix value; ///< of each head: W_UV, [v, latent] bf16
  device_matrix
      kv_b; ///< both as stored, [heads * (nope + v), latent], for long chunks on Hopper without batch_invariant
  device_matrix o;
  device_memory o_bias;
};

struct cuda_layer_weights {
  device_memory input_norm;
  cuda_attention_weights attention;
  device_memory post_attention_norm;
  std::optional<device_matrix> gate; ///< none: a dense layer. bf16
  device_memory correction;          ///< of the gate; empty: none
  device_ffn ffn;                    ///< dense MLP or shared experts
};

struct cuda_mtp_weights {
  device_memory enorm, hnorm;
  device_matrix eh_proj;
  cuda_layer_weights layer;
  device_memory head_norm;
};

/// Everything but the routed experts.
struct cuda_weights {
  device_matrix embedding; ///< bf16
  std::vector<cuda_layer_weights> layers;
  device_memory norm;
  device_matrix head; ///< shares nothing with the embedding, tied or not
  std::optional<cuda_mtp_weights> mtp;
};

/// `batch_invariant` is what every product with them will be. Errors: unsupported (a shape the kernels do not have),
/// those of the weights, overloaded (device memory).
result<cuda_weights> load_cuda_weights(weight_source& from, const model::model_config& config, bool batch_invariant);

/// The given experts of one layer; they are there after to.finish().
result<device_ffn> load_cuda_experts(weight_source& from, const model::model_config& config, layer_index layer,
                                     std::span<const expert_index> experts, uploader& to);

} // namespace troupe::exec
