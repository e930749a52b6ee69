// One wrapper per PTX instruction that CUDA C++ has no name for. sm_90a: mbarrier and bulk tensor copies; wgmma has a
// file of its own, and so have the copies of the plain kernels.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::cuda::ptx {

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

/// 16 bytes to an address in shared memory.
__device__ inline void store_shared(std::uint32_t address, const uint4& v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

/// Adds to a word in shared memory and returns what it was.
__device__ inline std::uint32_t add_shared(std::uint32_t address, std::uint32_t x) {
  std::uint32_t before;
  asm volatile("atom.shared.add.u32 %0, [%1], %2;" : "=r"(before) : "r"(address), "r"(x) : "memory");
  return before;
}

// mbarrier: a ring slot is `full` when its bytes landed and `empty` when every consumer warpgroup released it.

__device__ inline void mbarrier_init(std::uint64_t* bar, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals));
}
/// Makes initialised barriers visible to the copy engine.
__device__ inline void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void mbarrier_expect_bytes(std::uint64_t* bar, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)), "r"(bytes)
               : "memory");
}
__device__ inline void mbarrier_arrive(std::uint64_t* bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
}
/// Returns once the phase with this parity has completed.
__device__ inline void mbarrier_wait(std::uint64_t* bar, std::uint32_t parity) {
  asm volatile("{\n"
               ".reg .pred done;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@!done bra again;\n"
               "}" ::"r"(shared_address(bar)),
               "r"(parity)
               : "memory");
}

// Copies from device to shared memory that signal an mbarrier.

/// L2 eviction hints as createpolicy would encode them.
inline constexpr std::uint64_t evict_first = 0x12F0000000000000ull;
inline constexpr std::uint64_t evict_last = 0x14F0000000000000ull;

__device__ inline void copy_tile(void* dst, const CUtensorMap* map, std::uint64_t* bar, int x, int y,
                                 std::uint64_t hint) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
               " [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(dst)),
               "l"(map), "r"(shared_address(bar)), "r"(x), "r"(y), "l"(hint)
               : "memory");
}
/// The same out of a stack of matrices: one box of matrix z.
__device__ inline void copy_tile(void* dst, const CUtensorMap* map, std::uint64_t* bar, int x, int y, int z,
                                 std::uint64_t hint) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint"
               " [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(dst)),
               "l"(map), "r"(shared_address(bar)), "r"(x), "r"(y), "r"(z), "l"(hint)
               : "memory");
}
/// `bytes` is a multiple of 16; both ends are 16-byte aligned.
__device__ inline void copy_line(void* dst, const void* src, std::uint32_t bytes, std::uint64_t* bar) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(dst)),
               "l"(src), "r"(bytes), "r"(shared_address(bar))
               : "memory");
}

/// Makes this thread's ordinary writes to shared memory visible to the copy engine and the tensor cores.
__device__ inline void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// From shared to device memory; `bytes` is a multiple of 16, both ends are 16-byte aligned.
__device__ inline void store_line(void* dst, const void* src, std::uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;" ::"l"(dst),
               "r"(shared_address(src)), "r"(bytes)
               : "memory");
}
/// Returns when this thread's store_lines are done.
__device__ inline void wait_stored() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

/// Moves registers between the warpgroups of a CTA; every warp of a warpgroup calls it.
template <int Registers>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

/// 2^x within 2 ulp, results below the normals are 0; one instruction where exp2f takes four.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// 1 / x within 1 ulp for normal x.
__device__ inline float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Barrier `id` (1..15) among `threads` threads of the block.
__device__ inline void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Waits for the kernel launched before this one (programmatic dependent launch; before sm_90 there is none).
__device__ inline void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets the next kernel in the stream start its prologue.
__device__ inline void grid_launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

} // namespace troupe::cuda::ptx
