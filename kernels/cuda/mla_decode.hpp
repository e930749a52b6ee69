// Absorbed MLA attention of decode rows over the paged latent cache (model-spec.md 6.3): one key per position, shared
// by all heads, whose first 512 channels are also the value. Asynchronous, allocates nothing. Plain C++ header.
#pragma once

#include "kernels/cache_format.hpp"
#include "kernels/cuda/path.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

inline constexpr int mla_latent = 512; ///< value channels
inline constexpr int mla_entry = 576;  ///< latent and 64 rotated channels
inline constexpr int mla_page = 64;    ///< positions of a page

using kernels::cache_format;
/// Bytes of one position of one layer: 1152 plain, 656 in fp8_ds_mla. Pure.
TROUPE_HOST_DEVICE constexpr int mla_entry_bytes(cache_format format) {
  return static_cast<int>(kernels::cache_entry_bytes(format, mla_latent, mla_entry - mla_latent));
}

/// All pointers are device pointers, 16-byte aligned. Every slot of a page in `tables` holds finite numbers, also past
/// the end of its sequence (masked positions are multiplied by zero).
struct mla_decode_args {
  const std::uint16_t* q = nullptr; ///< [requests, queries, heads, 576] bf16: absorbed query and rotated query
  const void* cache = nullptr;      ///< [pages, 64] entries of `format`
  cache_format format = cache_format::plain;
  const int* tables = nullptr;  ///< [requests, table_pages] page of each 64 positions
  const int* lengths = nullptr; ///< [requests] cached positions, the `queries` newest included; >= queries
  std::uint16_t* out = nullptr; ///< [requests, queries, heads, 512] bf16
  float* partial_out = nullptr; ///< [splits, requests, queries * heads, 512]; unused with one split
  float* partial_lse = nullptr; ///< [splits, requests, queries * heads], base 2; unused with one split
  float scale = 0;              ///< of the scores, before softmax
  int requests = 0;
  int queries = 1; ///< rows per request, the last the newest: row i sees lengths - queries + i + 1 positions
  int heads = 128;
  int pages = 0; ///< of the cache
  int table_pages = 0;
  int splits = 1; ///< each handles ceil(table_pages / splits) pages
  /// Instead every request is split by its own length, mla_pages_per_split() pages each: bits do not depend on the
  /// batch. `splits` is then mla_splits_most(table_pages).
  bool by_length = false;
};

/// Pages of one split of a request with so many pages: short contexts want parallelism, for long ones the partial
/// results (262 KB a split of 128 heads, against 74 KB a page) must stay small. Pure.
TROUPE_HOST_DEVICE constexpr int mla_pages_per_split(int pages) { return pages <= 32 ? 4 : pages <= 128 ? 8 : 16; }
/// The most splits that a request of at most so many pages has. Pure.
constexpr int mla_splits_most(int pages) {
  const auto splits = [](int n) { return (n + mla_pages_per_split(n) - 1) / mla_pages_per_split(n); };
  int most = splits(pages);
  if (pages > 32 && splits(32) > most) most = splits(32);
  if (pages > 128 && splits(128) > most) most = splits(128);
  return most;
}

/// How many splits keep `sms` multiprocessors busy; at least two pages each. Pure.
int mla_decode_splits(int requests, int rows_per_request, int table_pages, int sms);

/// Both formats give the same bits for the same values in the cache: codes times powers of two are exact in bf16. Other
/// scales are rounded to bf16 first.
cudaError_t mla_decode(const mla_decode_args& args, cudaStream_t stream, kernel_path path = current_path());

} // namespace troupe::cuda
