// Device memory between processes of one host by CUDA IPC: what this one exports, and how it maps what others do. The
// GPUs may differ where they reach each other (NVLink, or PCIe with peer access).
#pragma once

#include "runtime/core/device_segment.hpp"
#include "runtime/exec/cuda/device.hpp"

#include <vector>

namespace troupe::exec {

/// Memory of the current device that other processes may map. Growing moves it (scratch_growths); what it leaves stays
/// allocated (less than what it has now), because freeing memory that somebody has mapped is undefined.
class exported_memory {
 public:
  /// At least so many bytes, of any content. Errors: overloaded (device memory), unsupported (no IPC here).
  result<void> reserve(std::size_t bytes);
  template <class T>
  T* as() const {
    return memory_.back().as<T>();
  }
  /// As others know it.
  const device_segment& segment() const { return segment_; }

 private:
  std::vector<device_memory> memory_; ///< the last one is in use
  device_segment segment_;
};

/// What mapped_segment needs of a device. Memory of a process that has ended stays readable until it is closed.
struct cuda_ipc {
  /// Counts as a scratch_growth: addresses of what was mapped before may be given again. Errors: unsupported.
  static result<std::byte*> open(const device_segment& s);
  static void close(std::byte* begin);
};

} // namespace troupe::exec
