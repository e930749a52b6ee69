#include "runtime/exec/cuda/device.hpp"

#include "kernels/cuda/path.hpp"

#include <algorithm>
#include <cstring>

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

uploader::uploader() {
  for (auto& event : sent_) must(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  for (auto& buffer : buffers_) buffer.reserve(chunk_bytes);
}

uploader::~uploader() {
  cudaStreamSynchronize(stream_);
  for (auto event : sent_) cudaEventDestroy(event);
}

std::byte* uploader::buffer() {
  must(cudaEventSynchronize(sent_[current_]));
  return buffers_[current_].get();
}

void uploader::send(void* to, std::size_t bytes) {
  must(cudaMemcpyAsync(to, buffers_[current_].get(), bytes, cudaMemcpyHostToDevice, stream_));
  must(cudaEventRecord(sent_[current_], stream_));
  current_ ^= 1;
}

void uploader::copy(void* to, const void* from, std::size_t bytes) {
  for (std::size_t done = 0; done < bytes; done += chunk_bytes) {
    const auto size = std::min(chunk_bytes, bytes - done);
    std::memcpy(buffer(), static_cast<const std::byte*>(from) + done, size);
    send(static_cast<std::byte*>(to) + done, size);
  }
}

} // namespace troupe::exec
