// Bytes in the memory of a device, as one process names them to another of its host, which may map them there: rows
// then need not travel. A name only: who exported the memory keeps it, and the device library knows what a handle is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>

namespace troupe {

struct device_segment {
  std::uint64_t owner = 0;               ///< a random number of the process that exported it
  std::int64_t pid = 0;                  ///< of that process: whether it still lives
  std::uint32_t place = 0;               ///< one buffer of `owner`, which may move when it grows
  std::uint32_t generation = 0;          ///< how often it has moved: an older one is not used any more
  std::uint64_t size = 0;                ///< bytes
  std::array<std::uint64_t, 8> handle{}; ///< opaque

  auto fields() { return std::tie(owner, pid, place, generation, size, handle); }
  bool operator==(const device_segment&) const = default;
};

} // namespace troupe
