// NCCL's functions, found in libnccl.so.2 when the first group is built: a host that never builds one needs no NCCL.
#pragma once

#include "runtime/core/result.hpp"

#include <nccl.h>

namespace troupe::exec {

struct nccl_library {
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init_rank;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclGetErrorString) error_string;
};

/// Loads it once, with NVLS switched off. Errors: unsupported, in one line that says what to do.
result<const nccl_library*> open_nccl();

} // namespace troupe::exec
