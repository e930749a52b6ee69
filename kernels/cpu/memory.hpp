// Large aligned memory for weights and scratch, on huge pages where it is large enough for them.
#pragma once

#include <cstddef>
#include <memory>

namespace troupe::kernels {

/// Zero-initialised bytes, 64-byte aligned (2 MB when large). Movable, not copyable.
class buffer {
 public:
  buffer() = default;
  explicit buffer(std::size_t size);
  /// Memory that lives as long as the model: small matrices share huge pages with their neighbours, which are freed
  /// when the last of them is. Thread-safe.
  static buffer for_weights(std::size_t size);

  buffer(buffer&&) noexcept = default;
  buffer& operator=(buffer&&) noexcept = default;

  std::byte* data() const { return data_.get(); }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  std::size_t size() const { return size_; }
  /// At least `size` bytes; contents are lost (and zero) when it grows.
  void reserve(std::size_t size) {
    if (size > size_) *this = buffer(size + size / 4);
  }

 private:
  buffer(std::shared_ptr<std::byte> data, std::size_t size) : data_(std::move(data)), size_(size) {}

  std::shared_ptr<std::byte> data_;
  std::size_t size_ = 0;
};

/// Scratch of the calling thread for the duration of one task; `slot` keeps simultaneous uses apart.
template <class T>
T* thread_scratch(std::size_t count, int slot) {
  thread_local buffer slots[8];
  slots[slot].reserve(count * sizeof(T));
  return slots[slot].template as<T>();
}

} // namespace troupe::kernels
