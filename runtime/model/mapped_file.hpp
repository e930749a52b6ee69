// A file mapped read-only: its bytes cost memory only once they are read, and the system may drop them again.
#pragma once

#include "runtime/core/result.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

namespace troupe::model {

class mapped_file {
 public:
  /// Errors: not_found, or bad_input naming the file. A file that shrinks while mapped raises SIGBUS on access:
  /// checkpoints must not be changed under a running server.
  static result<mapped_file> open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }

  mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~mapped_file();

 private:
  explicit mapped_file(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

} // namespace troupe::model
