// The yardstick of every memory-bound figure: how fast these threads can read memory.
#pragma once

#include "kernels/cpu/thread_pool.hpp"

#include <cstdint>

namespace troupe::kernels {

/// Best of `passes` sums over `bytes` of memory (larger than the caches, huge pages), in GB/s = 1e9 bytes per second.
double stream_read_gbs(thread_pool& pool, std::int64_t bytes, int passes);

} // namespace troupe::kernels
