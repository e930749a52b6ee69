#include "runtime/exec/cuda/nccl_group.hpp"

#if __has_include(<nccl.h>)
#include "runtime/exec/cuda/nccl_library.hpp"

#include <cstring>
#include <thread>

namespace troupe::exec {
namespace {

using clock = std::chrono::steady_clock;

/// Polling is eager at first, since a step of decode is short.
constexpr std::chrono::microseconds eager{1000}, poll_pause{50};
/// A call that only enqueues; the connections to peers are made in the first one.
constexpr std::chrono::seconds enqueue_timeout{30};

ncclComm_t raw(void* communicator) { return static_cast<ncclComm_t>(communicator); }

error lost(const std::string& what, const char* why) { return {errc::disconnected, "NCCL: " + what + ": " + why}; }

void pause_since(clock::time_point begin) {
  if (clock::now() - begin > eager) std::this_thread::sleep_for(poll_pause);
}

/// Polls a communicator that works in the background until it has nothing under way.
result<void> settle(const nccl_library& nccl, ncclComm_t communicator, const char* what, clock::duration timeout) {
  for (const auto begin = clock::now();;) {
    auto state = ncclSuccess;
    if (const auto status = nccl.async_error(communicator, &state); status != ncclSuccess) state = status;
    if (state == ncclSuccess) return {};
    if (state != ncclInProgress) return lost(what, nccl.error_string(state));
    if (clock::now() - begin > timeout) return lost(what, "not all ranks came in time");
    pause_since(begin);
  }
}

bool started(ncclResult_t status) { return status == ncclSuccess || status == ncclInProgress; }

} // namespace

result<nccl_id> nccl_group::make_id() {
  TROUPE_ASSIGN(const auto* nccl, open_nccl());
  ncclUniqueId made;
  if (const auto status = nccl->get_unique_id(&made); status != ncclSuccess)
    return lost("id", nccl->error_string(status));
  nccl_id id;
  static_assert(sizeof(id) == sizeof(made));
  std::memcpy(id.data(), &made, sizeof(made));
  return id;
}

result<std::unique_ptr<nccl_group>> nccl_group::join(const nccl_id& id, int rank, int size, const cuda_device& device,
                                                     milliseconds timeout) {
  TROUPE_ASSIGN(const auto* nccl, open_nccl());
  device.enter();
  ncclUniqueId named;
  std::memcpy(&named, id.data(), sizeof(named));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t communicator = nullptr;
  const auto status = nccl->init_rank(&communicator, size, named, rank, &config);
  if (!started(status)) return lost("init", nccl->error_string(status));
  std::unique_ptr<nccl_group> group(new nccl_group(communicator, rank, size)); // aborts if the others don't come
  TROUPE_TRY(settle(*nccl, communicator, "init", timeout));
  return group;
}

nccl_group::~nccl_group() { abort(); }

void nccl_group::abort() {
  if (const auto communicator = raw(std::exchange(communicator_, nullptr))) (*open_nccl())->abort(communicator);
}

/// Between group_start and group_end every call is only noted; group_end starts them all.
template <class Enqueue>
result<void> nccl_group::enqueue(const char* what, Enqueue enqueue) {
  if (!communicator_) return lost(what, "the group was aborted");
  const auto& nccl = **open_nccl();
  auto status = nccl.group_start();
  if (status == ncclSuccess) status = enqueue(nccl, raw(communicator_));
  const auto ended = nccl.group_end();
  if (started(status)) status = ended;
  auto outcome = started(status) ? settle(nccl, raw(communicator_), what, enqueue_timeout)
                                 : result<void>(lost(what, nccl.error_string(status)));
  if (!outcome) abort();
  return outcome;
}

result<void> nccl_group::all_reduce(void* data, std::size_t count, nccl_type type, cudaStream_t stream) {
  return enqueue("all-reduce", [&](const nccl_library& nccl, ncclComm_t communicator) {
    const auto element = type == nccl_type::f32 ? ncclFloat32 : ncclBfloat16;
    return nccl.all_reduce(data, data, count, element, ncclSum, communicator, stream);
  });
}

result<void> nccl_group::broadcast(void* data, std::size_t bytes, int root, cudaStream_t stream) {
  return enqueue("broadcast", [&](const nccl_library& nccl, ncclComm_t communicator) {
    return nccl.broadcast(data, data, bytes, ncclUint8, root, communicator, stream);
  });
}

result<void> nccl_group::all_to_all(const std::byte* send, std::span<const nccl_part> to, std::byte* receive,
                                    std::span<const nccl_part> from, cudaStream_t stream) {
  invariant(static_cast<int>(to.size()) == size_ && static_cast<int>(from.size()) == size_, "one part for each rank");
  return enqueue("all-to-all", [&](const nccl_library& nccl, ncclComm_t communicator) {
    auto status = ncclSuccess;
    for (int r = 0; r < size_ && started(status); ++r) {
      const auto &out = to[static_cast<std::size_t>(r)], &in = from[static_cast<std::size_t>(r)];
      if (out.bytes > 0) status = nccl.send(send + out.offset, out.bytes, ncclUint8, r, communicator, stream);
      if (in.bytes > 0 && started(status))
        status = nccl.receive(receive + in.offset, in.bytes, ncclUint8, r, communicator, stream);
    }
    return status;
  });
}

result<void> nccl_group::wait(cudaStream_t stream, milliseconds timeout) {
  if (!communicator_) return lost("wait", "the group was aborted");
  const auto& nccl = **open_nccl();
  for (const auto begin = clock::now();;) {
    const auto status = cudaStreamQuery(stream);
    if (status == cudaSuccess) return {};
    if (status != cudaErrorNotReady) must(status);
    auto state = ncclSuccess;
    nccl.async_error(raw(communicator_), &state);
    if (!started(state) || clock::now() - begin > timeout) {
      abort();
      return lost("wait",
                  started(state) ? "nothing happened in time; a peer is gone or stuck" : nccl.error_string(state));
    }
    pause_since(begin);
  }
}

} // namespace troupe::exec

#else

namespace troupe::exec {

// Without nccl.h no group is ever made, so that only the two functions which make one are reached.

namespace {
error not_built() {
  return {errc::unsupported, "groups of GPUs need NCCL: install libnccl-dev and build the plug-in again"};
}
} // namespace

result<nccl_id> nccl_group::make_id() { return not_built(); }
result<std::unique_ptr<nccl_group>> nccl_group::join(const nccl_id&, int, int, const cuda_device&, milliseconds) {
  return not_built();
}
nccl_group::~nccl_group() = default;
result<void> nccl_group::all_reduce(void*, std::size_t, nccl_type, cudaStream_t) { return not_built(); }
result<void> nccl_group::broadcast(void*, std::size_t, int, cudaStream_t) { return not_built(); }
result<void> nccl_group::all_to_all(const std::byte*, std::span<const nccl_part>, std::byte*,
                                    std::span<const nccl_part>, cudaStream_t) {
  return not_built();
}
result<void> nccl_group::wait(cudaStream_t, milliseconds) { return not_built(); }
void nccl_group::abort() {}

} // namespace troupe::exec
#endif
