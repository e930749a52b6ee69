// The shared memory of processes that have ended. UCX 1.13 keeps an endpoint without failure detection until its worker
// goes, and with it the mappings of the peer's receive memory (megabytes); the kernel keeps the memory itself as long
// as anybody maps it. A process that outlives a thousand peers would hold theirs all.
#pragma once

#include <cstddef>

namespace troupe::net {

/// Puts untouched private memory in the place of every System V mapping whose maker has ended: UCX may still look there
/// when it tidies up, and nobody cares what it finds. Returns how many bytes of address space that were. Not while a
/// worker of this process makes progress.
std::size_t release_orphaned_memory();

} // namespace troupe::net
