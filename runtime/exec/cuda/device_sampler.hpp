// Tokens of a step, chosen where its logits are (kernels/cuda/sample.hpp).
#pragma once

#include "kernels/cuda/sample.hpp"
#include "runtime/exec/cuda/device.hpp"
#include "runtime/exec/engine.hpp"

#include <span>
#include <vector>

namespace troupe::exec {

class device_sampler {
 public:
  /// Whether the device says all that is asked about the row: log probabilities are the host's business.
  static bool takes(const sample_row& row) { return row.params->logprobs < 0; }

  /// What `how` would choose for those rows that the device takes; -1 for the others, and where `how` has an error to
  /// report. `logits` [.., width] are on the device; they are as before when this returns.
  std::span<const token_id> run(float* logits, int width, std::span<const sample_row> rows, sampler& how,
                                cudaStream_t stream);

 private:
  std::vector<cuda::sample_row> rows_;
  std::vector<kernels::score_edit> edits_;
  std::vector<token_id> tokens_;
  pinned_scratch<std::byte> host_;
  device_scratch<std::byte> device_; // rows, then edits
  device_scratch<float> unedited_;
  device_scratch<std::byte> workspace_;
  device_scratch<token_id> device_tokens_;
  pinned_scratch<token_id> host_tokens_;
};

} // namespace troupe::exec
