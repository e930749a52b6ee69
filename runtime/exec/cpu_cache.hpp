// The bytes of the latent cache: [layers][pages][64][entry] in one reservation. Who owns a page is runtime/kv's matter.
#pragma once

#include "kernels/cpu/mla_attention.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace troupe::exec {

class cpu_cache {
 public:
  /// Reserves addresses; a page takes memory when it is first written. Zero until then.
  cpu_cache(std::int64_t layers, std::int64_t pages, const kernels::mla_shape& shape, kernels::cache_type type);

  std::byte* layer(std::int64_t index) const { return memory_.get() + index * layer_bytes_; }
  std::int64_t page_count() const { return pages_; }
  /// Of all layers.
  static std::int64_t page_bytes(std::int64_t layers, const kernels::mla_shape& shape, kernels::cache_type type);

 private:
  struct unmap {
    std::size_t size;
    void operator()(std::byte* p) const;
  };

  static std::unique_ptr<std::byte, unmap> reserve(std::int64_t bytes);

  std::int64_t pages_;
  std::int64_t layer_bytes_;
  std::unique_ptr<std::byte, unmap> memory_;
};

/// Memory this process may still take: MemAvailable of /proc/meminfo, less where the control group says so.
std::int64_t available_memory_bytes();

} // namespace troupe::exec
