// The gate of one layer and the slots of its experts (model-spec.md 7.2 and 13.1). Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

inline constexpr int route_experts_max = 1024;
inline constexpr int route_groups_max = 64;
inline constexpr int route_top_k_max = 32;

struct route_config {
  int experts = 0;
  int top_k = 0;
  int groups = 1; ///< of consecutive experts
  int groups_kept = 1;
  bool softmax = false;    ///< of the logits, else sigmoid
  bool limited = true;     ///< only experts of the kept groups
  bool pair_scores = true; ///< a group scores the sum of its two best (noaux_tc), else its best
  bool normalise = true;
  float scaling = 1;
};

/// x [tokens, hidden] bf16, weight [experts, hidden] bf16, bias [experts] or null (used only to choose).
/// Writes chosen [tokens, top_k], ascending, and their weights. Products and sums are fp32; ties go to the lowest
/// index.
cudaError_t route_rows(const route_config& config, const std::uint16_t* x, const std::uint16_t* weight,
                       const float* bias, int tokens, int hidden, int* chosen, float* weights, cudaStream_t stream);

/// Gives every choice a slot of its expert, tokens ascending: rows [experts], token_of [experts, rows_max], slot_of
/// [tokens, top_k], as ffn_routing wants them. rows_max >= tokens.
cudaError_t place_rows(const int* chosen, int tokens, int top_k, int experts, int rows_max, int* rows, int* token_of,
                       int* slot_of, cudaStream_t stream);

/// The same for the choices of some experts: owned [experts] says which, ascending or not. Other choices get no slot:
/// their slot_of stays as it is.
cudaError_t place_owned_rows(const int* chosen, int tokens, int top_k, const int* owned, int experts, int rows_max,
                             int* rows, int* token_of, int* slot_of, cudaStream_t stream);

/// The same without gaps, as prefill_gemm wants rows: expert e's slots are segments[e] .. segments[e + 1]. segments
/// [experts + 1], token_of [tokens * top_k], slot_of [tokens, top_k].
cudaError_t sort_rows(const int* chosen, int tokens, int top_k, int experts, int* segments, int* token_of, int* slot_of,
                      cudaStream_t stream);

} // namespace troupe::cuda
