// SwiGLU of one or many experts on the device. On Hopper, routed experts have kernels of their own: with FP8 weights
// they read FP8 activations (W8A8, the grouped kernels and prefill_gemm), with BF16 weights BF16 ones (the grouped
// kernels). Everything else reads BF16 activations through `linear`.
#pragma once

#include "kernels/cuda/gate_permute.hpp"
#include "runtime/exec/cuda/products.hpp"

namespace troupe::exec {

/// Which row of x fills which slot of the routed experts; device pointers. Expert e owns slots [e * rows_max, (e + 1) *
/// rows_max).
struct expert_slots {
  const int* rows = nullptr;     ///< [experts] slots in use
  const int* token_of = nullptr; ///< [experts, rows_max]
  int rows_max = 0;              ///< a multiple of 8
  int rows_hint = 0;             ///< the largest count expected: only chooses a tile
};

/// Keeps scratch memory between calls; one caller at a time.
class cuda_ffn {
 public:
  /// Outputs [experts, rows_max, hidden] bf16 of x [tokens, hidden] bf16, unweighted; valid until the next call.
  const std::uint16_t* run_routed(const device_ffn& w, const expert_slots& slots, const std::uint16_t* x,
                                  cudaStream_t stream);
  /// The same for grouped weights and rows that still have to be given their slots: `choice` says what they chose and
  /// where the slots are to be noted.
  const std::uint16_t* run_chosen(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_max,
                                  int rows_hint, cudaStream_t stream);
  /// The same for many rows, whose slots get no gaps: one product an expert over all its rows reads the weights once.
  /// FP8: other bits than run_chosen. Notes slot_of and, in `segments` [experts + 1], where each expert's slots begin.
  const std::uint16_t* run_sorted(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_hint,
                                  int* segments, cudaStream_t stream);
  /// The only expert of `w` on the first `tokens` rows of x: a dense MLP or the shared experts. [tokens, hidden]
  const std::uint16_t* run_own(const device_ffn& w, int tokens, const std::uint16_t* x, cudaStream_t stream);

  /// Tokens of a run_sorted() whose scratch memory does not get too large.
  static int sorted_tokens_max(const device_ffn& w, int top_k);
  /// Slots per expert for `tokens` rows, and for fewer when the scratch memory would get too large.
  static int rows_max(const device_ffn& w, int tokens);

 private:
  cuda::ffn_workspace workspace(const device_ffn& w, std::size_t slots);
  void run_grouped(const device_ffn& w, const cuda::ffn_routing& routing, int rows_max, int rows_hint,
                   const cuda::ffn_workspace& ws, cudaStream_t stream);
  void run_linear(const device_ffn& w, const int* group_tokens, int pitch, const std::uint16_t* inputs,
                  std::uint16_t* out, cudaStream_t stream);

  products products_;
  device_scratch<std::byte> slot_inputs_, slot_middle_; // in the format of the weights
  device_scratch<float> input_scales_, middle_scales_, gate_up_;
  device_scratch<std::uint16_t> inputs_, middle_, outputs_;
};

} // namespace troupe::exec
