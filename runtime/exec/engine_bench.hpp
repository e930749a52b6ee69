// `troupe bench engine`: tokens/s of an engine on random weights, beside what the same cores or GPU can do in the same
// run, so that a figure says how good the engine is and not how fast the machine. A step ends when its logits are ready
// where they were computed.
#pragma once

#include "kernels/tensor_type.hpp"
#include "runtime/exec/cpu_engine.hpp"

#include <string>
#include <vector>

namespace troupe::exec {

struct bench_options {
  std::string shape = "small"; ///< named_shape()
  std::string device = "cpu";  ///< parse_device()
  int moe_layers = 1;          ///< of r1-slice
  kernels::tensor_type weights = kernels::tensor_type::bf16;
  cache_dtype cache = cache_dtype::automatic;
  cpu_options cpu{};
  std::vector<int> batches = {1, 8, 32};             ///< sequences of a decode step
  int context = 256;                                 ///< tokens that each sequence has before it decodes
  int decode_steps = 24;                             ///< measured steps for each batch
  std::vector<int> prefill_tokens = {512};           ///< rows of a prefill chunk
  std::int64_t stream_bytes = std::int64_t{1} << 30; ///< read for stream_gbs: beyond the caches of any socket
  std::uint64_t seed = 1;
  bool deterministic = true; ///< of a GPU: device_engine_options
};

struct bench_row {
  std::string shape;
  std::string device;         ///< "cpu/amx_bf16", "cuda/sm_90a NVIDIA H200 #0"
  std::string phase;          ///< "decode" or "prefill"
  int batch = 0;              ///< sequences of a step; 1 in prefill
  int rows = 0;               ///< of a step, all sequences together
  std::string dtype;          ///< of the weights: "bf16", "fp8", "f32"
  double step_ms = 0;         ///< of the median step
  double tokens_per_s = 0;    ///< of the same step
  double bytes_per_token = 0; ///< weights and cache read: each matrix and each chosen expert once a step
  double stream_gbs = 0;      ///< what reading memory reaches on these threads, or on this GPU
  double gflops = 0;          ///< what the step's products and sums come to
  double gemm_gflops = 0;     ///< what one large matrix product reaches on these threads; 0: not measured
  double fraction = 0;        ///< decode: of stream_gbs; prefill: of gemm_gflops
};

/// A row for each batch, then one for each prefill chunk. Errors: not_found (shape), overloaded (no memory), as
/// make_cpu_engine and open_device.
result<std::vector<bench_row>> bench_engine(const bench_options& options);

} // namespace troupe::exec
