// Tensor maps for the bulk copy engine. The encoder is fetched from the driver at run time, so nothing links libcuda.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace troupe::cuda {

/// A row-major byte matrix [rows, cols] cut into boxes of `box_rows` x 128 bytes, 128-byte swizzle, zeros outside.
/// `cols` is a multiple of 16. Fills `map`.
inline cudaError_t make_byte_map(CUtensorMap* map, const void* data, std::uint64_t rows, std::uint64_t cols,
                                 std::uint32_t box_rows) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (const auto e =
          cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found))
    return e;
  if (found != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
  const cuuint64_t size[2] = {cols, rows};
  const cuuint64_t pitch[1] = {cols};
  const cuuint32_t box[2] = {128, box_rows};
  const cuuint32_t step[2] = {1, 1};
  const auto status = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(data), size, pitch, box, step,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return status == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

} // namespace troupe::cuda
