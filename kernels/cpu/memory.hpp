// Large aligned memory for weights and scratch. Blocks of 2 MB and more start on a huge page and ask Linux for them.
#pragma once

#include <cstddef>
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
  /// At least `size` bytes; contents are lost (and unspecified) when it grows.
  void reserve(std::size_t size);

 private:
  struct unmap {
    std::size_t size = 0;
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], unmap> data_;
  std::size_t size_ = 0;
};

} // namespace troupe::kernels
