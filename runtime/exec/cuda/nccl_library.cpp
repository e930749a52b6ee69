#if __has_include(<nccl.h>)
#include "runtime/exec/cuda/nccl_library.hpp"

#include <cstdlib>
#include <dlfcn.h>

namespace troupe::exec {
namespace {

result<nccl_library> load() {
  // NCCL reads it once, when the first communicator is made.
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return error{errc::unsupported, std::string("groups of GPUs need NCCL (") + dlerror() +
                                        "): install libnccl2, or add its folder to LD_LIBRARY_PATH"};
  nccl_library l{};
  const char* missing = nullptr;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
    if (!function) missing = name;
  };
  find(l.get_unique_id, "ncclGetUniqueId");
  find(l.init_rank, "ncclCommInitRankConfig");
  find(l.async_error, "ncclCommGetAsyncError");
  find(l.abort, "ncclCommAbort");
  find(l.group_start, "ncclGroupStart");
  find(l.group_end, "ncclGroupEnd");
  find(l.send, "ncclSend");
  find(l.receive, "ncclRecv");
  find(l.all_reduce, "ncclAllReduce");
  find(l.broadcast, "ncclBroadcast");
  find(l.error_string, "ncclGetErrorString");
  if (missing) return error{errc::unsupported, std::string("libnccl.so.2 is too old: it has no ") + missing};
  return l;
}

} // namespace

result<const nccl_library*> open_nccl() {
  static const auto library = load();
  if (!library) return library.error();
  return &*library;
}

} // namespace troupe::exec
#endif
