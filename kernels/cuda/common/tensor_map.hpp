// Tensor maps for the bulk copy engine. The encoder is fetched from the driver at run time, so nothing links libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// A row-major matrix [rows, cols] cut into boxes of `box_rows` rows and 128 bytes, 128-byte swizzle, zeros outside.
/// Rows are a multiple of 16 bytes. Fills `map`.
inline cudaError_t make_map(CUtensorMap* map, CUtensorMapDataType type, std::uint32_t element_bytes, const void* data,
                            std::uint64_t rows, std::uint64_t cols, std::uint32_t box_rows) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (const auto e =
          cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found))
    return e;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  const cuuint64_t size[2] = {cols, rows};
  const cuuint64_t pitch[1] = {cols * element_bytes};
  const cuuint32_t box[2] = {128 / element_bytes, box_rows};
  const cuuint32_t step[2] = {1, 1};
  const auto status = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      map, type, 2, const_cast<void*>(data), size, pitch, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t make_byte_map(CUtensorMap* map, const void* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint32_t box_rows) {
  return make_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, data, rows, cols, box_rows);
}
inline cudaError_t make_bf16_map(CUtensorMap* map, const void* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint32_t box_rows) {
  return make_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, data, rows, cols, box_rows);
}

} // namespace troupe::cuda
