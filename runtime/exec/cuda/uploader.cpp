#include "runtime/exec/cuda/uploader.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

namespace troupe::exec {
namespace {

/// Twelve would fill the copy engine (54 GB/s), eight reach 0.85 of what they read, and others may be loading too.
constexpr int threads_max = 8;
/// What one thread reads at a time: far above what a page fault costs, and small enough that all end together.
constexpr std::size_t piece_bytes = std::size_t{256} << 10;
constexpr std::size_t alignment = 256;

int thread_count() { return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, threads_max); }

} // namespace

uploader::uploader() : pool_(thread_count()) {
  for (auto& c : chunks_) {
    must(cudaEventCreateWithFlags(&c.sent, cudaEventDisableTiming));
    c.memory.reserve(chunk_bytes);
  }
}

uploader::~uploader() {
  cudaStreamSynchronize(stream_);
  for (auto& c : chunks_) cudaEventDestroy(c.sent);
}

std::byte* uploader::reserve(std::size_t bytes) {
  invariant(bytes <= chunk_bytes, "a chunk of weights fits its buffer");
  if (used_ + bytes > chunk_bytes) {
    must(cudaEventRecord(chunks_[current_].sent, stream_));
    current_ ^= 1, used_ = 0;
    must(cudaEventSynchronize(chunks_[current_].sent));
  }
  reserved_at_ = used_, reserved_bytes_ = bytes;
  used_ = std::min(chunk_bytes, (used_ + bytes + alignment - 1) / alignment * alignment);
  return chunks_[current_].memory.get() + reserved_at_;
}

void uploader::send(void* to) {
  const auto* from = chunks_[current_].memory.get() + reserved_at_;
  must(cudaMemcpyAsync(to, from, reserved_bytes_, cudaMemcpyHostToDevice, stream_));
}

void uploader::copy(void* to, const void* from, std::size_t bytes) {
  for (std::size_t done = 0; done < bytes; done += chunk_bytes) {
    const auto size = std::min(chunk_bytes, bytes - done);
    const auto* source = static_cast<const std::byte*>(from) + done;
    auto* room = reserve(size);
    const auto pieces = static_cast<std::int64_t>((size + piece_bytes - 1) / piece_bytes);
    pool_.parallel_for(pieces, [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i) * piece_bytes;
      std::memcpy(room + at, source + at, std::min(piece_bytes, size - at));
    });
    send(static_cast<std::byte*>(to) + done);
  }
}

} // namespace troupe::exec
