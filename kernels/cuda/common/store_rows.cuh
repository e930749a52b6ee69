// Accumulators of a wgmma on their way out: bf16, transposed in shared memory so that a warp writes whole 128-byte
// lines.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace troupe::cuda {

/// A warp's 16 rows of 64 columns; 16-byte chunk c of row r lies at chunk c ^ (r % 8).
struct alignas(128) warp_tile {
  std::uint8_t row[16][128];
};

__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

/// `value(i)` for i in 0..31 is accumulator i of 64 columns (wgmma.cuh's layout); `write(row, chunk, data)` is given
/// every 16 bytes of rows 0..15 and chunks 0..7. Called by a whole warp.
template <class Value, class Write>
__device__ void store_warp_rows(warp_tile& tile, Value value, Write write) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int row = lane / 4 + i / 2 % 2 * 8, chunk = (i / 4) ^ (row % 8);
    *reinterpret_cast<std::uint32_t*>(&tile.row[row][chunk * 16 + lane % 4 * 4]) = pack_bf16(value(i), value(i + 1));
  }
  __syncwarp();
#pragma unroll
  for (int first = 0; first < 16; first += 4) {
    const int row = first + lane / 8, chunk = lane % 8;
    write(row, chunk, *reinterpret_cast<const uint4*>(&tile.row[row][(chunk ^ (row % 8)) * 16]));
  }
  __syncwarp();
}

} // namespace troupe::cuda
