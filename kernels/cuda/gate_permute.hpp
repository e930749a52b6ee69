// From the gate's logits to rows in their experts' slots: choice, weights, histogram, slots and, for FP8 experts, 1x128
// quantisation of one decode step in two launches. Asynchronous, allocates nothing. Plain C++ header.
#pragma once

#include "kernels/cuda/grouped_ffn.hpp"
#include "kernels/cuda/route.hpp"

namespace troupe::cuda {

inline constexpr int gate_experts_max = 256; ///< one thread each
inline constexpr int gate_hidden_max = 32768;
inline constexpr int gate_tokens_max = 1024; ///< every row counts the choices before it

/// Device pointers, 16-byte aligned. With `shared` every token also fills slot `token` of expert `route.experts` with
/// weight 1: the shared expert is one more group, choices per token are top_k + 1.
struct gate_permute_args {
  route_config route;
  bool shared = false;
  const float* logits = nullptr;    ///< [tokens, experts]
  const float* bias = nullptr;      ///< [experts], used only to choose; or null
  const std::uint16_t* x = nullptr; ///< [tokens, hidden] bf16
  int tokens = 0;
  int* rows = nullptr;      ///< out [experts (+ 1)] slots in use
  int* token_of = nullptr;  ///< out [experts (+ 1), rows_max]
  int* slot_of = nullptr;   ///< out [tokens, choices], ascending by expert; tokens ascend within an expert
  float* weights = nullptr; ///< out [tokens, choices]
  int* chosen = nullptr;    ///< out [tokens, top_k] experts, ascending
};

/// The first launch alone: `chosen` and `weights`. Ignores x and everything that is about slots.
cudaError_t gate_rows(const gate_permute_args& args, cudaStream_t stream);
/// The second: from `chosen` to slots and the rows in them. Fills `ws.inputs` and `ws.input_scales` as quantise_rows
/// does; without room for scales rows stay bf16.
cudaError_t permute_rows(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream);

/// Both. Ties go to the lowest index; experts outside the kept groups count as -inf (model-spec.md 7.2).
/// `shape.experts` counts the shared expert; rows_max >= tokens.
cudaError_t gate_permute(const ffn_shape& shape, const gate_permute_args& args, const ffn_workspace& ws,
                         cudaStream_t stream);

} // namespace troupe::cuda
