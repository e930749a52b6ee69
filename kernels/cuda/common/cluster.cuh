// Thread block clusters: multicast copies and barriers of the neighbour CTA.
#pragma once

#include "kernels/cuda/common/ptx.cuh"

namespace troupe::cuda::ptx {

__device__ inline std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// Arrives at the barrier that lies at the same place in the shared memory of CTA `rank`. Orders nothing beyond this
/// CTA (a cluster-wide release costs a device-wide fence): for slots that were read, not written.
__device__ inline void mbarrier_arrive_at(std::uint64_t* bar, std::uint32_t rank) {
  asm volatile("{\n"
               ".reg .b32 there;\n"
               "mapa.shared::cluster.u32 there, %0, %1;\n"
               "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
               "}" ::"r"(shared_address(bar)),
               "r"(rank)
               : "memory");
}
/// copy_tile into every CTA of `mask`, each signalling its own barrier.
__device__ inline void copy_tile_multicast(void* dst, const CUtensorMap* map, std::uint64_t* bar, int x, int y,
                                           std::uint16_t mask, std::uint64_t hint) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
               ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(shared_address(dst)),
               "l"(map), "r"(shared_address(bar)), "r"(x), "r"(y), "h"(mask), "l"(hint)
               : "memory");
}
/// Four floats at this place in the shared memory of CTA `rank`. Not volatile: loads between two cluster_syncs may be
/// reordered and overlapped.
__device__ inline float4 load_from(const float4* p, std::uint32_t rank) {
  float4 v;
  asm("{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n"
      "}"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(shared_address(p)), "r"(rank));
  return v;
}

} // namespace troupe::cuda::ptx
