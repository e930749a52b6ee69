// Routed experts of one layer on Hopper, in one of two formats: FP8 128x128-block weights with activations quantised
// 1x128 on the way, or BF16 weights and activations. Rows to slots -> gate_up (SwiGLU and, FP8, quantise fused) -> down
// -> combine. All launchers are asynchronous, allocate nothing and read row counts on the device, so the four can be
// captured in a graph. Compiles with a plain C++ compiler.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

inline constexpr int ffn_experts_max = 320; ///< 256 routed, shared ones and redundant copies

/// Shapes of one layer's experts on this GPU. hidden % 256 == 0 and intermediate % 128 == 0.
struct ffn_shape {
  int experts = 0;  ///< experts on this GPU
  int rows_max = 0; ///< row slots per expert, a multiple of 8; expert e owns slots [e * rows_max, (e + 1) * rows_max)
  int hidden = 0;
  int intermediate = 0;
};

/// Weights as the checkpoint stores them; gate rows first, then up rows, per expert. Device pointers, 16-byte aligned.
struct ffn_weights {
  const void* gate_up = nullptr;         ///< [experts, 2 * intermediate, hidden] e4m3 or bf16
  const float* gate_up_scales = nullptr; ///< [experts, 2 * intermediate / 128, hidden / 128]; null: bf16
  const void* down = nullptr;            ///< [experts, hidden, intermediate] e4m3 or bf16
  const float* down_scales = nullptr;    ///< [experts, hidden / 128, intermediate / 128]; null: bf16
};

/// Buffers the caller owns, in the format of the weights; contents between the calls are an implementation detail.
/// Scales are copied in whole lines: up to 512 bytes behind the last one are read, and not used.
struct ffn_workspace {
  void* inputs = nullptr;           ///< [experts, rows_max, hidden] e4m3 or bf16
  float* input_scales = nullptr;    ///< [experts, hidden / 128, rows_max]; null: bf16
  void* middle = nullptr;           ///< [experts, rows_max, intermediate] e4m3 or bf16
  float* middle_scales = nullptr;   ///< [experts, intermediate / 128, rows_max]; null: bf16
  std::uint16_t* outputs = nullptr; ///< [experts, rows_max, hidden] bf16, unweighted
};

/// Which token fills which slot. All device pointers.
struct ffn_routing {
  const int* rows = nullptr;      ///< [experts] slots in use, 0..rows_max
  const int* segments = nullptr;  ///< [experts + 1], BF16: slots without gaps, expert e's are segments[e] ..
                                  ///< segments[e + 1]; rows are not read, rows_max counts the slots of all
  const int* token_of = nullptr;  ///< [experts, rows_max] token whose row fills the slot
  const int* slot_of = nullptr;   ///< [tokens, experts_per_token] slot, ascending by expert; -1: not on this GPU
  const float* weights = nullptr; ///< [tokens, experts_per_token]
  int tokens = 0;
  int experts_per_token = 0;
};

/// Gathers and quantises rows of x [tokens, hidden] bf16 into `ws.inputs`: s = max(|x|, 1e-4) / 448 per 128 channels
/// (model-spec.md section 9). For rows that stay bf16 there is gather_slots (rows.hpp).
cudaError_t quantise_rows(const ffn_shape& shape, const ffn_routing& routing, const std::uint16_t* x,
                          const ffn_workspace& ws, cudaStream_t stream);

/// ws.middle = silu(gate x) * (up x), quantised or rounded to bf16. A row's bits depend on that row and the weights
/// only. `rows_hint` is the largest row count expected: it only chooses a tile.
cudaError_t grouped_gate_up(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                            const ffn_workspace& ws, int rows_hint, cudaStream_t stream);

/// ws.outputs = down ws.middle.
cudaError_t grouped_down(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                         const ffn_workspace& ws, int rows_hint, cudaStream_t stream);

/// y [tokens, hidden] bf16 = sum over the token's slots, in their order, of weight * output; accumulated in fp32.
cudaError_t combine_rows(const ffn_shape& shape, const ffn_routing& routing, const ffn_workspace& ws, std::uint16_t* y,
                         cudaStream_t stream);

} // namespace troupe::cuda
