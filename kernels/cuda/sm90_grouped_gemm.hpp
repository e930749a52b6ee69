// The two Hopper ways behind grouped_gate_up and grouped_down, one a format of weights and rows. Asynchronous, allocate
// nothing. Plain C++ header.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

enum class stage_of { gate_up, down };

/// Device pointers. One product of all experts: y[s] = W[e] x[s], and what follows it in gate_up.
struct grouped_gemm_args {
  const void* weights = nullptr;        ///< [experts, weight_rows, cols]
  const float* weight_scales = nullptr; ///< [experts, weight_rows / 128, cols / 128]; null: bf16
  const void* tokens = nullptr;         ///< [experts, rows_max, cols]
  const float* token_scales = nullptr;  ///< [experts, cols / 128, rows_max]; null: bf16
  const int* rows = nullptr;            ///< [experts] slots in use
  const int* segments = nullptr;        ///< bf16: as ffn_routing has them; null: slots with gaps
  void* middle = nullptr;               ///< gate_up: [experts, rows_max, weight_rows / 2], silu(gate) * up
  float* middle_scales = nullptr;       ///< gate_up: [experts, weight_rows / 256, rows_max]; null: bf16
  std::uint16_t* outputs = nullptr;     ///< down: [experts, rows_max, weight_rows] bf16
  int experts = 0, rows_max = 0, weight_rows = 0, cols = 0;
};

cudaError_t fp8_grouped_gemm(stage_of stage, const grouped_gemm_args& args, int rows_hint, cudaStream_t stream);
cudaError_t bf16_grouped_gemm(stage_of stage, const grouped_gemm_args& args, int rows_hint, cudaStream_t stream);

} // namespace troupe::cuda
