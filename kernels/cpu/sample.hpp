// One token of a row of logits, with the arithmetic of kernels/sampling.hpp. The oracle is ref/sampling.hpp; the GPU
// has the same bits (kernels/cuda/sample.hpp).
#pragma once

#include "kernels/sampling.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kernels {

/// Not thread-safe: it keeps scratch buffers.
class token_sampler {
 public:
  /// A token below `count`, or -1 if a logit is NaN or infinite, or no token is allowed. All logits are looked at, even
  /// those from `count` on; edits of such tokens have no effect.
  std::int32_t sample(std::span<const float> logits, std::int32_t count, const token_draw& draw,
                      std::span<const score_edit> edits);

 private:
  struct candidate {
    float score;
    std::int32_t token;
    std::uint64_t weight;
  };

  void keep_top_k(std::size_t k);
  void keep_top_p(std::uint64_t p);
  std::uint64_t mass() const;

  std::vector<float> scores_;
  std::vector<candidate> kept_;
};

} // namespace troupe::kernels
