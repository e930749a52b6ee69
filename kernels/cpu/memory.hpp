// Large aligned memory for weights and scratch. Blocks of 2 MB and more start on a huge page and ask Linux for them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace troupe::kernels {

/// Zero-initialised bytes, 64-byte aligned (2 MB when large). Movable, not copyable.
class buffer {
 public:
  buffer() = default;
  explicit buffer(std::size_t size);

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
  struct release {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte[], release> data_;
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
