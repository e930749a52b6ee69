// bf16 products of few columns, D[64, N] (+)= A[64, K] B[N, K]^T with K = 16 a step: A from shared memory or from
// registers, B K-major in shared memory. Layouts and rules as in wgmma.cuh; `keep` = 0 starts from zero.
#pragma once

#include "kernels/cuda/common/wgmma_n128.cuh"

namespace troupe::cuda::ptx {

#define TROUPE_ACC4(i) "+f"(d[(i)]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define TROUPE_ACC8(i) TROUPE_ACC4(i), TROUPE_ACC4((i) + 4)
#define TROUPE_ACC16(i) TROUPE_ACC8(i), TROUPE_ACC8((i) + 8)

template <int N>
struct wgmma_bf16;

template <>
struct wgmma_bf16<8> {
  __device__ static void run(float (&d)[4], std::uint64_t a, std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %6, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3"
                 "}, %4, %5, p, 1, 1, 0, 0;}"
                 : TROUPE_ACC4(0)
                 : "l"(a), "l"(b), "r"(keep));
  }
  __device__ static void run(float (&d)[4], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %9, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3"
                 "}, {%4,%5,%6,%7}, %8, p, 1, 1, 0;}"
                 : TROUPE_ACC4(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
  }
};

template <>
struct wgmma_bf16<16> {
  __device__ static void run(float (&d)[8], std::uint64_t a, std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %10, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7"
                 "}, %8, %9, p, 1, 1, 0, 0;}"
                 : TROUPE_ACC8(0)
                 : "l"(a), "l"(b), "r"(keep));
  }
  __device__ static void run(float (&d)[8], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %13, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7"
                 "}, {%8,%9,%10,%11}, %12, p, 1, 1, 0;}"
                 : TROUPE_ACC8(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
  }
};

template <>
struct wgmma_bf16<32> {
  __device__ static void run(float (&d)[16], std::uint64_t a, std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
                 "}, %16, %17, p, 1, 1, 0, 0;}"
                 : TROUPE_ACC16(0)
                 : "l"(a), "l"(b), "r"(keep));
  }
  __device__ static void run(float (&d)[16], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
                 "}, {%16,%17,%18,%19}, %20, p, 1, 1, 0;}"
                 : TROUPE_ACC16(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
  }
};

template <>
struct wgmma_bf16<64> {
  __device__ static void run(float (&d)[32], std::uint64_t a, std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                 "}, %32, %33, p, 1, 1, 0, 0;}"
                 : TROUPE_ACC16(0), TROUPE_ACC16(16)
                 : "l"(a), "l"(b), "r"(keep));
  }
  __device__ static void run(float (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;}"
                 : TROUPE_ACC16(0), TROUPE_ACC16(16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
  }
};

template <>
struct wgmma_bf16<96> {
  __device__ static void run(float (&d)[48], std::uint64_t a, std::uint64_t b, int keep) {
    asm volatile("{.reg .pred p; setp.ne.b32 p, %50, 0; wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
                 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
                 "}, %48, %49, p, 1, 1, 0, 0;}"
                 : TROUPE_ACC16(0), TROUPE_ACC16(16), TROUPE_ACC16(32)
                 : "l"(a), "l"(b), "r"(keep));
  }
};

template <>
struct wgmma_bf16<128> {
  __device__ static void run(float (&d)[64], std::uint64_t a, std::uint64_t b, int keep) {
    wgmma_bf16_n128(d, a, b, keep);
  }
};

#undef TROUPE_ACC16
#undef TROUPE_ACC8
#undef TROUPE_ACC4

} // namespace troupe::cuda::ptx
