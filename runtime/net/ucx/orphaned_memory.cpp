#include "runtime/net/ucx/orphaned_memory.hpp"

#include <sys/mman.h>
#include <sys/shm.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace troupe::net {

namespace {

struct mapping {
  std::uintptr_t begin;
  std::uintptr_t end;
  int memory; ///< System V's id
};

/// Lines as "7f0c8e200000-7f0c8e402000 rw-s 00000000 00:01 32771   /SYSV00000000 (deleted)": the inode is the id.
std::vector<mapping> system_v_mappings() {
  std::vector<mapping> out;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/SYSV") == std::string::npos) continue;
    mapping one{};
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %d", &one.begin, &one.end, &one.memory) == 3) out.push_back(one);
  }
  return out;
}

/// Marked for removal, as UCX does at once, and made by a process that is no more. An unseen maker counts as alive.
bool is_orphaned(int memory) {
  shmid_ds state{};
  if (::shmctl(memory, IPC_STAT, &state) != 0) return false;
  if ((state.shm_perm.mode & SHM_DEST) == 0 || state.shm_cpid == 0) return false;
  return ::kill(state.shm_cpid, 0) != 0 && errno == ESRCH;
}

} // namespace

std::size_t release_orphaned_memory() {
  std::size_t released = 0;
  for (const auto& one : system_v_mappings()) {
    if (!is_orphaned(one.memory)) continue;
    const auto size = one.end - one.begin;
    void* const at = ::mmap(reinterpret_cast<void*>(one.begin), size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (at != MAP_FAILED) released += size;
  }
  return released;
}

} // namespace troupe::net
