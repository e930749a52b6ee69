// Bulk bytes (activations, KV pages, weights) that many may hold and nobody copies: reference-counted, from a pool.
// Invariant: written only by whoever allocated it, and only before it is handed on.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace troupe {

/// A handle: copying it copies no bytes. Handles may be passed between threads; the last one returns the memory to the
/// pool, whose pages stay warm (a fresh 1 MiB allocation costs 256 page faults, three times the copy).
class segment {
 public:
  /// No bytes.
  segment() = default;

  /// `size` bytes of any content, aligned to 4096. Any thread.
  static segment allocate(std::size_t size);
  /// A copy of `bytes`.
  static segment copy_of(std::span<const std::byte> bytes);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const std::byte> bytes() const { return {memory_.get(), size_}; }
  /// Gives the pages back to the system although somebody still holds this: its bytes read as zeros from then on, and
  /// may be written. For whoever allocated it and cannot stop another from writing there.
  void discard() const;
  /// For whoever allocated it, before anybody else holds it.
  std::span<std::byte> writable() const { return {memory_.get(), size_}; }

 private:
  segment(std::shared_ptr<std::byte> memory, std::size_t size) : memory_(std::move(memory)), size_(size) {}

  std::shared_ptr<std::byte> memory_;
  std::size_t size_ = 0;
};

} // namespace troupe
