// Tensor maps for the bulk copy engine. The encoder is fetched from the driver at run time, so nothing links libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// The driver's encoder; null where the driver has none.
inline cudaError_t tensor_map_encoder(decltype(&cuTensorMapEncodeTiled)& encode) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (const auto e =
          cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found))
    return e;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  encode = reinterpret_cast<decltype(encode)>(entry);
  return cudaSuccess;
}

/// A row-major matrix [rows, cols] cut into boxes of `box_rows` rows and 128 bytes, 128-byte swizzle, zeros outside.
/// Rows are `pitch` elements apart (0: dense), a multiple of 16 bytes. Fills `map`.
inline cudaError_t make_map(CUtensorMap* map, CUtensorMapDataType type, std::uint32_t element_bytes, const void* data,
                            std::uint64_t rows, std::uint64_t cols, std::uint32_t box_rows, std::uint64_t pitch = 0,
                            std::uint32_t line = 0) {
  decltype(&cuTensorMapEncodeTiled) encode = nullptr;
  if (const auto e = tensor_map_encoder(encode)) return e;
  const cuuint64_t size[2] = {cols, rows};
  const cuuint64_t pitch_bytes[1] = {(pitch ? pitch : cols) * element_bytes};
  const cuuint32_t box[2] = {line ? line : 128 / element_bytes, box_rows};
  const cuuint32_t step[2] = {1, 1};
  const auto status =
      encode(map, type, 2, const_cast<void*>(data), size, pitch_bytes, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
             line ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t make_byte_map(CUtensorMap* map, const void* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint32_t box_rows, std::uint64_t pitch = 0) {
  return make_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, data, rows, cols, box_rows, pitch);
}
inline cudaError_t make_bf16_map(CUtensorMap* map, const void* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint32_t box_rows, std::uint64_t pitch = 0) {
  return make_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, data, rows, cols, box_rows, pitch);
}
/// `groups` bf16 matrices [rows, cols], rows `pitch` and matrices `group_pitch` elements apart, both multiples of 8.
inline cudaError_t make_grouped_bf16_map(CUtensorMap* map, const void* data, std::uint64_t groups, std::uint64_t rows,
                                         std::uint64_t cols, std::uint32_t box_rows, std::uint64_t pitch,
                                         std::uint64_t group_pitch) {
  decltype(&cuTensorMapEncodeTiled) encode = nullptr;
  if (const auto e = tensor_map_encoder(encode)) return e;
  const cuuint64_t size[3] = {cols, rows, groups};
  const cuuint64_t pitch_bytes[2] = {pitch * 2, group_pitch * 2};
  const cuuint32_t box[3] = {64, box_rows, 1}, step[3] = {1, 1, 1};
  const auto status = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), size, pitch_bytes, box,
                             step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}
/// Boxes of one row and `line` floats, not swizzled; zeros outside.
inline cudaError_t make_line_map(CUtensorMap* map, const float* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint64_t pitch, std::uint32_t line) {
  return make_map(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, data, rows, cols, 1, pitch, line);
}

} // namespace troupe::cuda
