// The 128-column shapes of wgmma that the prefill kernels use; layouts and rules as in wgmma.cuh.
#pragma once

#include "kernels/cuda/common/wgmma.cuh"

namespace troupe::cuda::ptx {

#define TROUPE_ACC4(i) "+f"(d[(i)]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define TROUPE_ACC16(i) TROUPE_ACC4(i), TROUPE_ACC4((i) + 4), TROUPE_ACC4((i) + 8), TROUPE_ACC4((i) + 12)

/// e4m3, K = 32 a step; `keep` = 0 starts from zero.
__device__ inline void wgmma_e4m3_n128(float (&d)[64], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
               "}, %64, %65, p, 1, 1;}"
               : TROUPE_ACC16(0), TROUPE_ACC16(16), TROUPE_ACC16(32), TROUPE_ACC16(48)
               : "l"(a), "l"(b), "r"(keep));
}

/// bf16, K = 16 a step, both operands K-major in shared memory.
__device__ inline void wgmma_bf16_n128(float (&d)[64], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
               "}, %64, %65, p, 1, 1, 0, 0;}"
               : TROUPE_ACC16(0), TROUPE_ACC16(16), TROUPE_ACC16(32), TROUPE_ACC16(48)
               : "l"(a), "l"(b), "r"(keep));
}

/// bf16, A K-major, B N-major, both in shared memory; always accumulates.
__device__ inline void wgmma_bf16_n128(float (&d)[64], std::uint64_t a, std::uint64_t b) {
  asm volatile("{wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
               "}, %64, %65, 1, 1, 1, 0, 1;}"
               : TROUPE_ACC16(0), TROUPE_ACC16(16), TROUPE_ACC16(32), TROUPE_ACC16(48)
               : "l"(a), "l"(b));
}

/// bf16, A in registers, B N-major in shared memory; always accumulates.
__device__ inline void wgmma_bf16_n128(float (&d)[64], const std::uint32_t (&a)[4], std::uint64_t b) {
  asm volatile("{wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
               "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;}"
               : TROUPE_ACC16(0), TROUPE_ACC16(16), TROUPE_ACC16(32), TROUPE_ACC16(48)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef TROUPE_ACC16
#undef TROUPE_ACC4

} // namespace troupe::cuda::ptx
