// A file mapped read-only: its bytes cost memory only once they are read, and the system may drop them again.
#pragma once

#include "runtime/core/result.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

namespace troupe::model {

class mapped_file {
 public:
  /// Errors: not_found, or bad_input naming the file. A file that shrinks while mapped raises SIGBUS on access and ends
  /// the process (bus_error.hpp says of which file): checkpoints must not be changed under a running server.
  static result<mapped_file> open(const std::filesystem::path& path);

  /// The whole file; what keep() has dropped must not be read.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Unmaps all pages that hold no byte of `wanted`, parts of bytes() in ascending order.
  void keep(std::span<const std::span<const std::byte>> wanted);

  mapped_file(mapped_file&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), mapped_(std::exchange(other.mapped_, {})) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~mapped_file();

 private:
  explicit mapped_file(std::span<const std::byte> bytes) : bytes_(bytes), mapped_{bytes} {}
  std::span<const std::byte> bytes_;
  std::vector<std::span<const std::byte>> mapped_; ///< whole pages, ascending
};

} // namespace troupe::model
