// Row-wise steps around the products of one layer: embedding, RMSNorm, SwiGLU, and adding what a block computed to the
// residual stream, which is fp32 as in the CPU engine. A row's bits depend on that row only. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// x [tokens, hidden] = table[ids] widened; table [vocabulary, hidden] bf16.
cudaError_t embed_rows(const std::uint16_t* table, const int* ids, int tokens, int hidden, float* x,
                       cudaStream_t stream);

/// y[t] = weight * x[row_of ? row_of[t] : t] / sqrt(mean(x²) + eps).
struct rmsnorm_args {
  const float* x = nullptr; ///< rows x_pitch floats apart
  std::int64_t x_pitch = 0;
  const int* row_of = nullptr;
  const float* weight = nullptr; ///< [width]
  int tokens = 0;
  int width = 0; ///< a multiple of 4
  float eps = 0;
  std::uint16_t* y = nullptr; ///< bf16, rows y_pitch apart; may be null
  std::int64_t y_pitch = 0;
  float* y_f32 = nullptr; ///< [tokens, width]; may be null
};
cudaError_t rmsnorm(const rmsnorm_args& args, cudaStream_t stream);

/// h [groups, pitch, width] bf16 = silu(gate) * up of gate_up [groups, pitch, 2 width] f32, gate first; the first
/// group_tokens[g] rows of each group (null: all), at most `tokens`.
cudaError_t swiglu_rows(const float* gate_up, const int* group_tokens, int groups, int tokens, int pitch, int width,
                        std::uint16_t* h, cudaStream_t stream);

/// What the feed-forward block adds: own rows, and routed rows in the order of the token's slots (ascending experts).
struct add_ffn_args {
  float* x = nullptr;                    ///< [tokens, hidden], x += own + sum
  const std::uint16_t* own = nullptr;    ///< [tokens, hidden] bf16: dense MLP or shared experts; may be null
  const std::uint16_t* routed = nullptr; ///< [slots, hidden] bf16, unweighted; may be null
  const int* slot_of = nullptr;          ///< [tokens, experts_per_token]
  const float* weights = nullptr;        ///< [tokens, experts_per_token]
  int tokens = 0;
  int hidden = 0;
  int experts_per_token = 0;
};
/// Rounds as moe::combine does (product and sum apart, the routed sum first): experts here and elsewhere give the same
/// bits.
cudaError_t add_ffn_rows(const add_ffn_args& args, cudaStream_t stream);

/// add_ffn_args for outputs that lie by choice, in memory that may be another GPU's: choice j of token t is row
/// t * experts_per_token + j of outputs_of[chosen[t, j]]. The same bits.
struct add_chosen_args {
  float* x = nullptr;                               ///< [tokens, hidden], x += own + sum
  const std::uint16_t* own = nullptr;               ///< [tokens, hidden] bf16; may be null
  const std::uint16_t* const* outputs_of = nullptr; ///< [experts], each [tokens, experts_per_token, hidden] bf16
  const int* chosen = nullptr;                      ///< [tokens, experts_per_token]
  const float* weights = nullptr;                   ///< [tokens, experts_per_token]
  int tokens = 0;
  int hidden = 0;
  int experts_per_token = 0;
};
cudaError_t add_chosen_rows(const add_chosen_args& args, cudaStream_t stream);

/// Copies up to four pieces in one launch. Addresses are multiples of 16, sizes of 4; null copies nothing.
struct copied_piece {
  const void* from = nullptr;
  void* to = nullptr;
  std::int64_t bytes = 0;
};
struct copied_pieces {
  copied_piece piece[4];
};
cudaError_t copy_pieces(const copied_pieces& pieces, cudaStream_t stream);

/// ids[t] = index of the largest of the first `count` values of row t of x [tokens, width], the lowest of equals; -1 if
/// anything in the row is NaN or +infinity, or all of the first `count` are -infinity.
cudaError_t argmax_rows(const float* x, int tokens, int width, int count, int* ids, cudaStream_t stream);

/// x += y, `count` floats.
cudaError_t add_rows(const float* y, std::int64_t count, float* x, cudaStream_t stream);
/// y = x widened to f32; `count` is a multiple of 2.
cudaError_t widen_rows(const std::uint16_t* x, std::int64_t count, float* y, cudaStream_t stream);
/// to[i] = from[row_of[i]], rows of `width` bf16; width is a multiple of 8.
cudaError_t gather_rows(const std::uint16_t* from, const int* row_of, int rows, int width, std::uint16_t* to,
                        cudaStream_t stream);
/// The same for the slots of experts: to[e, i] = from[token_of[e, i]] for i < group_tokens[e]; `pitch` slots an expert.
cudaError_t gather_slots(const std::uint16_t* from, const int* token_of, const int* group_tokens, int groups, int pitch,
                         int width, std::uint16_t* to, cudaStream_t stream);

/// to[i] = from[slot_of[i]] for the choices i of experts that have a place (slot_of_expert[chosen[i]] >= 0); other rows
/// of `to` stay as they are. chosen [choices] may hold anything, slot_of_expert [experts].
cudaError_t scatter_chosen(const std::uint16_t* from, const int* chosen, const int* slot_of_expert, int experts,
                           const int* slot_of, int choices, int width, std::uint16_t* to, cudaStream_t stream);

} // namespace troupe::cuda
