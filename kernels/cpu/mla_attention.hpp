// Multi-head latent attention in the weight-absorbed form for every row, over a paged latent cache (model-spec.md 6.3).
// A row's bits depend on its query, its position and the cached positions 0..p only: softmax runs over fixed blocks of
// 256 positions in position order, whatever the chunk, the batch or the threads.
#pragma once

#include "kernels/cache_format.hpp"
#include "kernels/cpu/matrix.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::kernels {

inline constexpr std::int64_t cache_page_tokens = 64;

struct mla_shape {
  std::int64_t heads = 0;
  std::int64_t nope = 0;   ///< d_n, query/key channels without position
  std::int64_t rope = 0;   ///< d_r, rotated channels, one key shared by all heads
  std::int64_t value = 0;  ///< d_v
  std::int64_t latent = 0; ///< r_kv
  float scale = 1;         ///< multiplies the scores before softmax

  std::int64_t entry() const { return latent + rope; } ///< elements cached per token
};

/// kv_b [heads * (nope + value), latent], split per head into W_UK (transposed) and W_UV and packed.
/// FP8 is dequantised to bf16 (bfloat16) or f32 (float32) first, as DeepSeek's own code does.
class mla_weights {
 public:
  mla_weights(const weight_view& kv_b, const mla_shape& shape, target t);

  const mla_shape& shape() const { return shape_; }
  const matrix& key(std::int64_t head) const { return key_[static_cast<std::size_t>(head)]; }     ///< [latent, nope]
  const matrix& value(std::int64_t head) const { return value_[static_cast<std::size_t>(head)]; } ///< [value, latent]
  std::int64_t bytes() const;

 private:
  mla_shape shape_;
  std::vector<matrix> key_;
  std::vector<matrix> value_;
};

/// What a cache holds; the plain format has bf16 elements for bfloat16, fp32 for float32.
struct cache_type {
  compute_type compute;
  cache_format format = cache_format::plain;

  cache_type(compute_type c, cache_format f = cache_format::plain) : compute(c), format(f) {}
};

/// Bytes of one cached token of one layer.
std::int64_t cache_entry_bytes(const mla_shape& shape, cache_type type);
/// Stores one token: `latent` (normed c, shape.latent floats) and `rope` (rotated key, shape.rope floats), rounded to
/// the cache's format, at slot position % 64 of page `page` of the layer's pool [pages][64][entry].
void write_cache_entry(const mla_shape& shape, cache_type type, std::byte* pool, std::int64_t page,
                       std::int64_t position, const float* latent, const float* rope);

/// Consecutive query rows of one sequence. The cache must already hold positions 0 .. first_position + rows - 1.
struct mla_sequence {
  std::int64_t first_row = 0;          ///< in the batch
  std::int64_t rows = 0;               ///< may be 0
  std::int64_t first_position = 0;     ///< of the first row
  std::span<const std::int32_t> pages; ///< page i holds positions [64 i, 64 i + 64)
};

/// Keeps scratch memory between calls; one caller at a time.
class mla_attention {
 public:
  explicit mla_attention(target t, cache_format format = cache_format::plain) : target_(t), format_(format) {}

  /// q [rows, heads, nope + rope], `q_stride` floats between rows, rope part already rotated;
  /// cache: one layer's pool; o [rows, heads * value], `o_stride` floats between rows.
  void run(thread_pool& pool, const mla_weights& weights, std::span<const mla_sequence> sequences,
           const std::byte* cache, const float* q, std::int64_t q_stride, float* o, std::int64_t o_stride);

 private:
  target target_;
  cache_format format_;
  buffer queries_;                    ///< absorbed queries, [(row, head) pairs][entry, padded] of activations
  std::vector<packed_rows> inputs_;   ///< of the key projections, one a task
  std::vector<packed_rows> attended_; ///< latents z, [rows, latent] for each head
};

} // namespace troupe::kernels
