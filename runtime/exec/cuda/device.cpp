#include "runtime/exec/cuda/device.hpp"

#include "kernels/cuda/path.hpp"

namespace troupe::exec {

result<cuda_device> open_cuda(int index) {
  int count = 0;
  if (const auto status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0)
    return error{errc::unsupported,
                 std::string("device cuda: no usable GPU (") +
                     cudaGetErrorString(status == cudaSuccess ? cudaErrorNoDevice : status) +
                     "); install the NVIDIA driver (580 or newer), check nvidia-smi, or use --device cpu"};
  index %= count;
  cudaDeviceProp card;
  if (const auto status = cudaGetDeviceProperties(&card, index); status != cudaSuccess)
    return error{errc::unsupported, "device cuda:" + std::to_string(index) + ": " + cudaGetErrorString(status)};
  if (card.major < 8)
    return error{errc::unsupported, "device cuda:" + std::to_string(index) + ": " + card.name + " is sm_" +
                                        std::to_string(card.major * 10 + card.minor) +
                                        "; the kernels need sm_80 (A100) or newer, or use --device cpu"};
  const bool hopper = cuda::path_of(index) == cuda::kernel_path::hopper;
  return cuda_device{index, hopper ? "cuda/sm_90a" : "cuda/sm_80", card.name};
}

result<device_memory> device_memory::allocate(std::size_t bytes) {
  device_memory memory;
  const auto status = cudaMalloc(&memory.data_, bytes + 512);
  if (status != cudaSuccess) {
    cudaGetLastError(); // an allocation that failed leaves the device usable
    return error{errc::overloaded,
                 "no device memory for " + std::to_string(bytes >> 20) + " MiB: " + cudaGetErrorString(status)};
  }
  memory.size_ = bytes;
  return memory;
}

} // namespace troupe::exec
