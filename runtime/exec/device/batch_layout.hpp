// The rows of one pass through the layers as a GPU's kernels want them: one block of memory, one copy to the device.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace troupe::exec {

/// Page tables are padded to a multiple of so many pages: batches whose tables differ less are launched alike.
inline constexpr int table_pages_step = 16;

/// Consecutive rows of one sequence. `pages` must cover them.
struct sequence_tokens {
  std::span<const token_id> tokens;
  std::int64_t first_position = 0;
  std::span<const page_id> pages;
  std::int32_t first_source = 0; ///< row of the last forward() that the first token is drafted from
};

/// The rows of one sequence in a batch: its newest positions.
struct batch_chunk {
  int first_row = 0;
  int rows = 0;
  int positions = 0; ///< of the sequence, these rows included
};

/// Where each array lies in the block, in 4-byte words. Pure.
struct batch_layout {
  int rows = 0;
  int wanted = 0;
  int table_pages = 0; ///< a multiple of table_pages_step
  std::vector<batch_chunk> chunks;
  std::size_t ids = 0, lengths = 0, slots = 0, sources = 0, wanted_rows = 0, cos = 0, sin = 0, tables = 0;
  std::size_t words = 0;

  batch_layout(std::span<const sequence_tokens> sequences, int wanted, int rope_pairs);
};

/// Fills position's cosines and sines.
using angles_of = std::function<void(std::int64_t position, float* cos, float* sin)>;

/// Writes the block of `layout`. Pure. `wanted` are rows of the batch.
void fill_batch(const batch_layout& layout, std::span<const sequence_tokens> sequences,
                std::span<const std::int32_t> wanted, int rope_pairs, const angles_of& angles, std::uint32_t* words);

/// Device pointers into the block; valid until the next batch.
struct device_batch {
  int rows = 0;
  int wanted = 0;
  int table_pages = 0;
  std::vector<batch_chunk> chunks; ///< all rows, in order
  const int* ids = nullptr;
  const int* lengths = nullptr; ///< positions a row sees: its own position + 1
  const int* slots = nullptr;   ///< page * 64 + position % 64
  const int* sources = nullptr; ///< first_source, first_source + 1, ... of each sequence
  const int* wanted_rows = nullptr;
  const float* cos = nullptr; ///< [rows, rope pairs]
  const float* sin = nullptr;
  const int* tables = nullptr; ///< [rows, table_pages]

  device_batch(const batch_layout& layout, const std::uint32_t* words);

  /// Rows from `first` on as a batch of their own, of which nothing is wanted; they lie where they lay. Pure.
  device_batch part(int first, int count, int rope_pairs) const;
};

} // namespace troupe::exec
