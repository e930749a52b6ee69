// Tokens of a batch of rows of logits, each drawn in its own way: kernels/cpu/sample.hpp on the device, with its bits.
#pragma once

#include "kernels/sampling.hpp"

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace troupe::cuda {

struct sample_row {
  kernels::token_draw draw;
  std::int32_t row = 0;        ///< of the logits; one that is edited is in a batch once
  std::int32_t first_edit = 0; ///< of `edits`
  std::int32_t edit_count = 0; ///< each token at most once
};

struct sample_args {
  float* logits = nullptr;                    ///< [.., width]; edited while the kernels run, as before afterwards
  const sample_row* rows = nullptr;           ///< [row_count]
  const kernels::score_edit* edits = nullptr; ///< of all rows
  float* unedited = nullptr;                  ///< [edits] scratch
  void* workspace = nullptr;      ///< sample_workspace_bytes(row_count), aligned to 8, its contents do not matter
  std::int32_t* tokens = nullptr; ///< [row_count]; -1: as kernels::token_sampler
  int row_count = 0;
  int width = 0;
  int vocab_size = 0; ///< tokens from here on are not candidates; at most `width` and kernels::vocab_size_max
  /// Whether any row has edits, top_k, top_p: kernels that nobody needs are not launched.
  bool edits_any = false, top_k_any = false, top_p_any = false;
};

/// Row by row independent; allocates nothing and can be captured.
cudaError_t sample_rows(const sample_args& args, cudaStream_t stream);
std::size_t sample_workspace_bytes(int row_count);

} // namespace troupe::cuda
