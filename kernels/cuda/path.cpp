#include "kernels/cuda/path.hpp"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string_view>

namespace troupe::cuda {

kernel_path path_of(int index) {
  static const char* asked = std::getenv("TROUPE_CUDA_PATH");
  if (asked && std::string_view(asked) == "plain") return kernel_path::plain;
  int major = 0;
  const auto status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  return status == cudaSuccess && major == 9 ? kernel_path::hopper : kernel_path::plain;
}

kernel_path current_path() {
  int index = 0;
  return cudaGetDevice(&index) == cudaSuccess ? path_of(index) : kernel_path::plain;
}

} // namespace troupe::cuda
