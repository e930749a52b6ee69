// Who may ask. Keys are kept as SHA-256 digests and compared in constant time, with the same work for unknown keys
// (operations.md P3; CVE-2025-59425).
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

class api_keys {
 public:
  explicit api_keys(const std::vector<std::string>& keys);

  /// True for `Authorization: Bearer <one of the keys>`, and for everybody where no keys are configured.
  bool accept(std::string_view authorization) const;

 private:
  using digest = std::array<unsigned char, 32>;
  static digest digest_of(std::string_view key);

  std::vector<digest> digests_;
};

} // namespace troupe
