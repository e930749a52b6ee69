#include "runtime/exec/cuda/device_sampler.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace troupe::exec {

std::span<const token_id> device_sampler::run(float* logits, int width, std::span<const sample_row> rows, sampler& how,
                                              cudaStream_t stream) {
  rows_.clear(), edits_.clear();
  cuda::sample_args args;
  for (const auto& row : rows) {
    if (!takes(row)) continue;
    cuda::sample_row next;
    next.first_edit = static_cast<std::int32_t>(edits_.size());
    next.draw = how.draw_of(*row.params, row.tokens, row.prompt_size, edits_);
    next.edit_count = static_cast<std::int32_t>(edits_.size()) - next.first_edit;
    next.row = row.logit_row;
    args.edits_any |= next.edit_count > 0;
    args.top_k_any |= next.draw.top_k > 0, args.top_p_any |= next.draw.top_p > 0;
    rows_.push_back(next);
  }
  tokens_.assign(rows.size(), -1);
  if (rows_.empty()) return tokens_;

  // Edits become more with every token: room for twice as many, since graphs leave when scratch memory grows.
  const auto row_bytes = rows_.size() * sizeof(cuda::sample_row), edit_bytes = edits_.size() * sizeof(edits_[0]);
  const auto room = std::bit_ceil(row_bytes + edit_bytes);
  auto* host = host_.reserve(room);
  auto* device = device_.reserve(room);
  std::memcpy(host, rows_.data(), row_bytes);
  if (edit_bytes > 0) std::memcpy(host + row_bytes, edits_.data(), edit_bytes);
  must(cudaMemcpyAsync(device, host, row_bytes + edit_bytes, cudaMemcpyHostToDevice, stream));

  args.logits = logits, args.width = width, args.vocab_size = std::min(width, how.vocab_size());
  args.rows = reinterpret_cast<const cuda::sample_row*>(device);
  args.edits = reinterpret_cast<const kernels::score_edit*>(device + row_bytes);
  args.unedited = unedited_.reserve(edits_.empty() ? 0 : std::bit_ceil(edits_.size()));
  args.row_count = static_cast<int>(rows_.size());
  args.workspace = workspace_.reserve(cuda::sample_workspace_bytes(args.row_count));
  args.tokens = device_tokens_.reserve(rows_.size());
  must(cuda::sample_rows(args, stream));
  auto* drawn = host_tokens_.reserve(rows_.size());
  must(cudaMemcpyAsync(drawn, args.tokens, rows_.size() * sizeof(token_id), cudaMemcpyDeviceToHost, stream));
  must(cudaStreamSynchronize(stream));
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (takes(rows[i])) tokens_[i] = *drawn++;
  return tokens_;
}

} // namespace troupe::exec
