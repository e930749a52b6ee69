#include "runtime/exec/cuda/ipc_memory.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include <unistd.h>

namespace troupe::exec {
namespace {

/// The driver maps whole pages of this size: smaller allocations would share one, and lay open what lies beside them.
constexpr std::size_t page = std::size_t{2} << 20;

std::uint64_t this_process() {
  static const std::uint64_t drawn = [] {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
  }();
  return drawn;
}

std::uint32_t next_place() {
  static std::atomic<std::uint32_t> places = 0;
  return ++places;
}

/// CUDA keeps the last error for whoever asks next.
error unsupported(const char* what, cudaError_t status) {
  cudaGetLastError();
  return {errc::unsupported, std::string(what) + ": " + cudaGetErrorString(status)};
}

} // namespace

result<void> exported_memory::reserve(std::size_t bytes) {
  if (!memory_.empty() && bytes <= segment_.size) return {};
  const auto size = std::bit_ceil(std::max(bytes, page));
  TROUPE_ASSIGN(auto grown, device_memory::allocate(size - device_memory::spare_bytes));
  cudaIpcMemHandle_t handle;
  if (const auto status = cudaIpcGetMemHandle(&handle, grown.as<void>()); status != cudaSuccess)
    return unsupported("exporting device memory", status);
  static_assert(sizeof handle == sizeof segment_.handle);
  std::memcpy(segment_.handle.data(), &handle, sizeof handle);
  if (memory_.empty()) segment_.owner = this_process(), segment_.pid = ::getpid(), segment_.place = next_place();
  segment_.size = size - device_memory::spare_bytes;
  ++segment_.generation, ++scratch_growths;
  memory_.push_back(std::move(grown));
  return {};
}

result<std::byte*> cuda_ipc::open(const device_segment& s) {
  if (s.owner == this_process()) return error{errc::unsupported, "a process does not map its own memory"};
  cudaIpcMemHandle_t handle;
  std::memcpy(&handle, s.handle.data(), sizeof handle);
  void* begin = nullptr;
  if (const auto status = cudaIpcOpenMemHandle(&begin, handle, cudaIpcMemLazyEnablePeerAccess); status != cudaSuccess)
    return unsupported("mapping device memory of another process", status);
  ++scratch_growths;
  return static_cast<std::byte*>(begin);
}

void cuda_ipc::close(std::byte* begin) {
  if (cudaIpcCloseMemHandle(begin) != cudaSuccess) cudaGetLastError(); // the exporter may be gone
}

} // namespace troupe::exec
