// The cluster secret: whoever knows it belongs to the cluster. It is never sent, printed or logged; peers prove that
// they have it (handshake.hpp).
//
//   $TROUPE_CLUSTER_SECRET  >  the file a flag names  >  ~/.config/troupe/cluster.key, made at first use
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/digest.hpp"

#include <filesystem>
#include <span>
#include <string_view>

namespace troupe::net {

/// Holds only the SHA-256 of the secret's text: the key of every proof. Forgets it when it goes.
class cluster_secret {
 public:
  explicit cluster_secret(std::string_view text) : key_(sha256(std::as_bytes(std::span(text)))) {}
  cluster_secret(const cluster_secret&) = default;
  cluster_secret& operator=(const cluster_secret&) = default;
  ~cluster_secret() { wipe(key_); }

  std::span<const std::byte> key() const { return key_; }

 private:
  digest key_;
};

} // namespace troupe::net
