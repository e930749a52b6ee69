// cuBLASLt as the ceiling of large products. The library is opened when there is one, so that the bench links nothing.
#include "kernels/bench/cuda_rig.hpp"

#include <cublasLt.h>
#include <dlfcn.h>

namespace troupe::bench {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& f) {
  return (f = reinterpret_cast<Function>(dlsym(library, name)));
}

struct lt_library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;

  bool open() {
    void* so = dlopen("libcublasLt.so.13", RTLD_NOW);
    if (!so) so = dlopen("libcublasLt.so", RTLD_NOW);
    return so && find(so, "cublasLtCreate", create) && find(so, "cublasLtMatmulDescCreate", desc_create) &&
           find(so, "cublasLtMatmulDescSetAttribute", desc_set) &&
           find(so, "cublasLtMatrixLayoutCreate", layout_create) &&
           find(so, "cublasLtMatmulPreferenceCreate", preference_create) &&
           find(so, "cublasLtMatmulPreferenceSetAttribute", preference_set) &&
           find(so, "cublasLtMatmulAlgoGetHeuristic", heuristic) && find(so, "cublasLtMatmul", matmul);
  }
};

} // namespace

double library_tflops(timer& t, bool fp8) {
  constexpr std::size_t n = 8192, workspace_bytes = 64u << 20;
  lt_library lt;
  if (!lt.open()) return 0;
  arena a;
  const void *x, *w;
  if (fp8)
    x = a.e4m3(n * n, 1), w = a.e4m3(n * n, 2);
  else
    x = a.bf16(n * n, 1), w = a.bf16(n * n, 2);
  void *y = a.get<std::uint16_t>(n * n), *workspace = a.get<char>(workspace_bytes);

  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t op;
  cublasLtMatrixLayout_t in, out;
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const auto type = fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
  const cublasOperation_t transpose = CUBLAS_OP_T;
  const std::int8_t fast = fp8;
  const bool ready = !lt.create(&handle) && !lt.desc_create(&op, CUBLAS_COMPUTE_32F, CUDA_R_32F) &&
                     !lt.desc_set(op, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose) &&
                     !lt.desc_set(op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast) &&
                     !lt.layout_create(&in, type, n, n, n) && !lt.layout_create(&out, CUDA_R_16BF, n, n, n) &&
                     !lt.preference_create(&preference) &&
                     !lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                        sizeof workspace_bytes) &&
                     !lt.heuristic(handle, op, in, in, out, out, preference, 1, &found, &count) && count == 1;
  if (!ready) return 0;
  const float one = 1, zero = 0;
  const auto multiply = [&](cudaStream_t s) {
    return lt.matmul(handle, op, &one, w, in, x, in, &zero, y, out, y, out, &found.algo, workspace, workspace_bytes, s);
  };
  if (multiply(nullptr)) return 0; // the first call loads its kernels, which a capture may not
  check(cudaDeviceSynchronize(), "cublasLt");
  const double us = t.median_us([&](cudaStream_t s) { multiply(s); }, false);
  return 2.0 * n * n * n / us / 1e6;
}

} // namespace troupe::bench
