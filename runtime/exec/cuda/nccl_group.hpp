// A group of GPUs, one a rank, that move tensors by NCCL: rows to experts and back (all-to-all), sums of
// tensor-parallel parts (all-reduce), weights from one that has them (broadcast). Nothing waits without a deadline:
// when a peer dies, the survivors abort and build a group of those that are left.
#pragma once

#include "runtime/exec/cuda/device.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace troupe::exec {

/// Names a group that is being built: one rank makes it, every rank joins with it. It may travel as plain bytes.
using nccl_id = std::array<std::byte, 128>;

enum class nccl_type { f32, bf16 };

/// Bytes [offset, offset + bytes) of a buffer belong to one rank.
struct nccl_part {
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

/// One caller at a time. NVLink multicast (NVLS) stays off.
class nccl_group {
 public:
  using milliseconds = std::chrono::milliseconds;

  /// Errors: unsupported (libnccl.so.2 is not there, or this binary was built without nccl.h).
  static result<nccl_id> make_id();
  /// Waits for all `size` ranks. Errors: unsupported; disconnected (not all came within `timeout`).
  static result<std::unique_ptr<nccl_group>> join(const nccl_id& id, int rank, int size, const cuda_device& device,
                                                  milliseconds timeout);
  /// Aborts what is under way: wait() first.
  ~nccl_group();

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Each enqueues on `stream` and returns before it has happened. Errors: disconnected, and the group is lost. Device
  // pointers.

  /// data [count] becomes its sum over the ranks.
  result<void> all_reduce(void* data, std::size_t count, nccl_type type, cudaStream_t stream);
  /// data [bytes] of rank `root` to everyone.
  result<void> broadcast(void* data, std::size_t bytes, int root, cudaStream_t stream);
  /// to[r] of `send` goes to rank r; from[r] of `receive` is filled by rank r, whose to[rank()] is as long.
  result<void> all_to_all(const std::byte* send, std::span<const nccl_part> to, std::byte* receive,
                          std::span<const nccl_part> from, cudaStream_t stream);

  /// Waits until everything on `stream` has happened. Errors: disconnected when a peer is gone or nothing happened for
  /// `timeout`; then the group is aborted, so that its kernels end, and what they were to write is undefined.
  result<void> wait(cudaStream_t stream, milliseconds timeout);
  /// Ends the group's kernels now. Every later call is `disconnected`.
  void abort();

 private:
  nccl_group(void* communicator, int rank, int size) : communicator_(communicator), rank_(rank), size_(size) {}
  template <class Enqueue>
  result<void> enqueue(const char* what, Enqueue enqueue);

  void* communicator_; // ncclComm_t; null once aborted
  int rank_, size_;
};

} // namespace troupe::exec
