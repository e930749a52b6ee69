#include "runtime/exec/cuda/device.hpp"

#include "kernels/cuda/path.hpp"
#include "kernels/cuda/random_fill.hpp"
#include "kernels/cuda/read_only.hpp"

#include <algorithm>

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
  const auto status = cudaMalloc(&memory.data_, bytes + spare_bytes);
  if (status != cudaSuccess) {
    cudaGetLastError(); // an allocation that failed leaves the device usable
    return error{errc::overloaded,
                 "no device memory for " + std::to_string(bytes >> 20) + " MiB: " + cudaGetErrorString(status)};
  }
  memory.size_ = bytes;
  return memory;
}

result<double> cuda_read_gbs(std::size_t bytes) {
  constexpr int passes = 5;
  TROUPE_ASSIGN(const auto data, device_memory::allocate(bytes));
  TROUPE_ASSIGN(const auto sink, device_memory::allocate(sizeof(unsigned)));
  const cuda_stream stream;
  const cuda_event begin, end;
  must(cuda::fill_random_e4m3(data.as<std::uint8_t>(), static_cast<std::int64_t>(bytes), 1, stream)); // zeros cost less
  double best = 0;
  for (int i = 0; i <= passes; ++i) { // the first one loads the kernel
    must(cudaEventRecord(begin, stream));
    must(cuda::read_only(data.as<void>(), bytes, sink.as<unsigned>(), stream));
    must(cudaEventRecord(end, stream));
    stream.wait();
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) best = std::max(best, static_cast<double>(bytes) / 1e6 / static_cast<double>(ms));
  }
  return best;
}

} // namespace troupe::exec
