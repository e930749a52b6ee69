#include "runtime/exec/cpu_cache.hpp"

#include "runtime/core/invariant.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <sys/mman.h>

namespace troupe::exec {
namespace {

constexpr auto no_limit = std::numeric_limits<std::int64_t>::max();

/// The number in a file of one number; no_limit if there is none ("max").
std::int64_t number_in(const char* file) {
  std::int64_t value;
  return std::ifstream(file) >> value ? value : no_limit;
}

std::int64_t left_in_control_group() {
  const auto limit = number_in("/sys/fs/cgroup/memory.max");
  return limit == no_limit ? no_limit : limit - std::min(limit, number_in("/sys/fs/cgroup/memory.current"));
}

} // namespace

std::unique_ptr<std::byte, cpu_cache::unmap> cpu_cache::reserve(std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  invariant(memory != MAP_FAILED, "no address space for the latent cache");
  madvise(memory, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), unmap{size}};
}

cpu_cache::cpu_cache(std::int64_t layers, std::int64_t pages, const kernels::mla_shape& shape, kernels::cache_type type)
    : pages_(pages), layer_bytes_(page_bytes(1, shape, type) * pages), memory_(reserve(layers * layer_bytes_)) {}

void cpu_cache::unmap::operator()(std::byte* p) const { munmap(p, size); }

std::int64_t cpu_cache::page_bytes(std::int64_t layers, const kernels::mla_shape& shape, kernels::cache_type type) {
  return layers * kernels::cache_page_tokens * kernels::cache_entry_bytes(shape, type);
}

std::int64_t available_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  for (std::int64_t kib; meminfo >> key >> kib; meminfo.ignore(16, '\n'))
    if (key == "MemAvailable:") return std::min(kib * 1024, left_in_control_group());
  return left_in_control_group();
}

} // namespace troupe::exec
