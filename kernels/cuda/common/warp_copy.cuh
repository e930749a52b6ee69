// Copies of the plain kernels, sm_80 and newer: device to shared memory in the background, and shared memory to the
// fragments of mma.sync.
#pragma once

#include "kernels/cuda/common/ptx.cuh"

namespace troupe::cuda::ptx {

/// Starts copying 16 bytes past L1; both ends are 16-byte aligned.
__device__ inline void copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
/// The same with 4 bytes, by way of L1.
__device__ inline void copy_async_4(void* shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
/// Waits for all copies that this thread started.
__device__ inline void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Four 8x8 matrices of 16-bit elements; lane 8 i + r names row r of matrix i. Register i of lane l is then row l/4,
/// columns l%4 * 2 and + 1 of matrix i.
__device__ inline uint4 load_matrices(const void* row) {
  uint4 m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w)
               : "r"(shared_address(row))
               : "memory");
  return m;
}
/// The same of the transposed matrices.
__device__ inline uint4 load_matrices_transposed(const void* row) {
  uint4 m;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m.x), "=r"(m.y), "=r"(m.z), "=r"(m.w)
               : "r"(shared_address(row))
               : "memory");
  return m;
}

} // namespace troupe::cuda::ptx
